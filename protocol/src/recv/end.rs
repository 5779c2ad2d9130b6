//! The end of a tensor (wire-format.md, section 8.2).

use crate::event::{Event, ReceivedTensor, ReleaseReason, TensorInfo, WHOLE_ON_WIRE};
use crate::wire::{MAX_RELEASE_REPORTS, ReleaseReport, TensorId};

/// What a tensor's end has to tell: to the caller, and to the peer.
#[derive(Debug)]
pub(crate) enum End {
    Released(ReceivedTensor),
    Superseded(TensorInfo),
    Lost { first: TensorId, count: u64 },
}

impl End {
    /// The reports to the peer: one for each tensor, but of a range of lost ones only for as many of
    /// the newest as a message names.
    pub(crate) fn reports(&self) -> impl Iterator<Item = ReleaseReport> + use<> {
        let (ids, reason, missing) = match self {
            Self::Released(ReceivedTensor { info, .. }) | Self::Superseded(info) => {
                let id = info.id.0;
                (id..id + 1, info.reason, info.missing_on_wire())
            }
            Self::Lost { first, count } => {
                let named = (*count).min(MAX_RELEASE_REPORTS as u64);
                let end = first.0 + count;
                (end - named..end, ReleaseReason::Lost, WHOLE_ON_WIRE)
            }
        };
        ids.map(move |id| ReleaseReport {
            tensor_id: TensorId(id).wire(),
            reason: reason.code(),
            missing,
        })
    }

    pub(crate) fn event(self) -> Event {
        match self {
            Self::Released(tensor) => Event::Tensor(tensor),
            Self::Superseded(info) => Event::Superseded(info),
            Self::Lost { first, count } => Event::Lost { first, count },
        }
    }
}
