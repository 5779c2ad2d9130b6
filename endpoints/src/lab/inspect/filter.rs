//! Which packets are shown.

use clap::ValueEnum;
use serde::Serialize;
use tensorwire_protocol::wire::MessageType;

use super::line::Line;
use crate::capture::Interface;

/// The types of messages, and what is none.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Slices of a tensor
    Data,
    /// A repair symbol
    Repair,
    /// Arrivals, releases and load
    Feedback,
    /// Results of inference
    Result,
    /// Asks for feedback
    Ping,
    /// Fills the path
    Padding,
    /// Asks a path for an echo
    PathChallenge,
    /// Echoes it
    PathResponse,
    /// Ends a session
    Close,
    /// What no receiver takes
    Refused,
}

impl Kind {
    pub(super) const fn of(kind: MessageType) -> Self {
        match kind {
            MessageType::Data => Self::Data,
            MessageType::Repair => Self::Repair,
            MessageType::Feedback => Self::Feedback,
            MessageType::Result => Self::Result,
            MessageType::Ping => Self::Ping,
            MessageType::Padding => Self::Padding,
            MessageType::PathChallenge => Self::PathChallenge,
            MessageType::PathResponse => Self::PathResponse,
            MessageType::Close => Self::Close,
        }
    }

    /// One word for files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Repair => "repair",
            Self::Feedback => "feedback",
            Self::Result => "result",
            Self::Ping => "ping",
            Self::Padding => "padding",
            Self::PathChallenge => "path-challenge",
            Self::PathResponse => "path-response",
            Self::Close => "close",
            Self::Refused => "refused",
        }
    }
}

/// Which packets are shown: those that pass everything that is asked for.
pub(super) struct Filter {
    /// All, if there are none.
    pub(super) kinds: Vec<Kind>,
    pub(super) tensor: Option<u64>,
    pub(super) session: Option<u32>,
}

impl Filter {
    pub(super) fn wants(&self, line: &Line, interface: &Interface) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.contains(&line.kind);
        let tensor = self.tensor.is_none_or(|tensor| {
            line.tensors
                .iter()
                .any(|low| u64::from(*low) == tensor & 0xFFFF)
        });
        let session = self.session.is_none_or(|id| {
            let noted = interface
                .note
                .as_ref()
                .and_then(|note| note.session.as_ref());
            line.connection == Some(id)
                || noted.is_some_and(|session| [session.local, session.remote].contains(&id))
        });
        kind && tensor && session
    }
}
