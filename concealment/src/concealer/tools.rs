//! Every method with the memory that it keeps from tensor to tensor.

use std::sync::Arc;

use crate::{
    bundle::Bundle,
    lmmse::Lmmse,
    method::{
        Holes, Method, altec::Altec, caltec::Caltec, channel_mean, dataset_mean, ground::ground,
        hybrid, low_rank::LowRank, spatial::Spatial, temporal::Temporal, zero,
    },
};

/// The methods' own memory. A method that is not used holds none.
#[derive(Debug, Default)]
pub(super) struct Tools {
    ground: Vec<f32>,
    spatial: Spatial,
    temporal: Temporal,
    altec: Altec,
    caltec: Caltec,
    low_rank: LowRank,
    lmmse: Option<Lmmse>,
}

/// What a method may use besides the tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aids<'a> {
    pub(super) side: Option<&'a Arc<Bundle>>,
    /// The previous tensor of the stream.
    pub(super) previous: Option<&'a [f32]>,
    /// Rows of a packet, if somebody said it.
    pub(super) packet_rows: Option<usize>,
}

impl Tools {
    /// Carries out a method. What lacks its aid, and so is refused before it comes here, fills as
    /// [`Spatial`](Method::Spatial) does.
    pub(super) fn fill(&mut self, method: Method, holes: Holes<'_>, aids: Aids<'_>) {
        let bundle = aids.side.map(Arc::as_ref);
        match (method, bundle) {
            (Method::Zero, _) => return zero::fill(holes),
            (Method::ChannelMean, _) => return channel_mean::fill(holes, bundle),
            (Method::DatasetMean, Some(bundle)) => return dataset_mean::fill(holes, bundle),
            (Method::Hybrid, Some(bundle)) => return hybrid::fill(holes, bundle),
            (Method::Altec, Some(bundle)) => {
                if let Some(table) = bundle.altec() {
                    return self.altec.fill(holes, table);
                }
            }
            (Method::Lmmse, Some(bundle)) if bundle.covariance().is_some() => {
                if let Some(side) = aids.side {
                    let lmmse = self
                        .lmmse
                        .get_or_insert_with(|| Lmmse::new(Arc::clone(side)));
                    return lmmse.fill(holes);
                }
            }
            _ => {}
        }
        ground(&mut self.ground, &holes, bundle);
        let ground = &self.ground;
        match (method, aids.previous) {
            (Method::Temporal | Method::Motion, Some(previous)) => self.temporal.fill(
                holes,
                ground,
                previous,
                method == Method::Motion,
                &mut self.spatial,
            ),
            (Method::Caltec, _) => self.caltec.fill(holes, aids.packet_rows, ground),
            (Method::Silrtc, _) => self.low_rank.silrtc(holes, ground),
            (Method::Halrtc, _) => self.low_rank.halrtc(holes, ground),
            _ => self.spatial.fill(holes, ground),
        }
    }
}
