//! What `auto` does with a tensor.

use std::time::Duration;

use crate::{bundle::Bundle, kind::LossKind, mask::Losses, method::Method};

/// What a choice depends on besides the losses.
pub(super) struct Circumstances<'a> {
    pub(super) side: Option<&'a Bundle>,
    /// The kind of loss of the map in use, if somebody said it.
    pub(super) kind: Option<LossKind>,
    pub(super) budget: Duration,
    pub(super) has_previous: bool,
}

impl Circumstances<'_> {
    /// The method for these losses.
    pub(super) fn choose(&self, losses: &Losses) -> Method {
        let kind = self.kind.unwrap_or_else(|| LossKind::of(losses));
        let policy = self.side.and_then(Bundle::policy);
        match policy.filter(|policy| policy.rows().iter().any(|row| row.kind == kind)) {
            Some(policy) => policy
                .best(kind, losses.share(), self.budget, |method| {
                    self.is_possible(method)
                })
                .unwrap_or_else(|| self.simplest()),
            None => self.untold(losses),
        }
    }

    /// Without a policy for the kind: what studies found to be best on the whole.
    fn untold(&self, losses: &Losses) -> Method {
        if self.is_possible(Method::Lmmse) {
            Method::Lmmse
        } else if losses.in_lost_channels < losses.missing {
            Method::Spatial
        } else {
            self.simplest()
        }
    }

    const fn simplest(&self) -> Method {
        if self.side.is_some() {
            Method::Hybrid
        } else {
            Method::ChannelMean
        }
    }

    fn is_possible(&self, method: Method) -> bool {
        lacks(method, self.side).is_none() && (self.has_previous || !method.uses_previous())
    }
}

/// What keeps a method from working with this bundle.
pub(super) fn lacks(method: Method, side: Option<&Bundle>) -> Option<super::ConcealError> {
    let Some(bundle) = side else {
        return method
            .needs_bundle()
            .then_some(super::ConcealError::NeedsBundle { method });
    };
    let section = method.section()?;
    let is_there = match method {
        Method::Altec => bundle.altec().is_some(),
        Method::Lmmse => bundle.covariance().is_some(),
        _ => true,
    };
    (!is_there).then_some(super::ConcealError::MissingSection { method, section })
}
