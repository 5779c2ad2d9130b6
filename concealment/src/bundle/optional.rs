//! The sections that a bundle may be without: reading them and putting them in.

use super::{
    AccuracyCurve, AltecTable, Bundle, CodingLadder, Importance, Policy, Section, SectionError,
};
use crate::{covariance::Covariance, limits};

/// What a bundle holds beyond its required sections. Each is checked by its own type.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Optional {
    pub(crate) covariance: Option<Covariance>,
    pub(crate) altec: Option<AltecTable>,
    pub(crate) accuracy: Option<AccuracyCurve>,
    pub(crate) importance: Option<Importance>,
    pub(crate) policy: Option<Policy>,
    pub(crate) ladder: Option<CodingLadder>,
}

impl Optional {
    /// Whether each fits a tensor of this shape.
    pub(super) fn check(
        &self,
        (channels, height, _): (usize, usize, usize),
    ) -> Result<(), SectionError> {
        let altec_fits =
            |table: &AltecTable| table.channels() == channels && table.rows() <= height;
        if !self.altec.as_ref().is_none_or(altec_fits) {
            return Err(SectionError::new(
                Section::Altec,
                "the table is for tensors of another shape",
            ));
        }
        let importance_fits = |values: &Importance| values.channels().len() == channels;
        if !self.importance.as_ref().is_none_or(importance_fits) {
            return Err(SectionError::new(
                Section::Importance,
                "there is one value for each channel",
            ));
        }
        Ok(())
    }
}

impl Bundle {
    /// The covariance of channels and neighbours, if calibration measured it. LMMSE needs it.
    #[must_use]
    pub const fn covariance(&self) -> Option<&Covariance> {
        self.optional.covariance.as_ref()
    }

    /// The weights of ALTeC, if calibration trained them.
    #[must_use]
    pub const fn altec(&self) -> Option<&AltecTable> {
        self.optional.altec.as_ref()
    }

    /// What a missing share costs in accuracy, if somebody measured it.
    #[must_use]
    pub const fn accuracy(&self) -> Option<&AccuracyCurve> {
        self.optional.accuracy.as_ref()
    }

    /// The relative cost of losing each channel, if somebody measured it.
    #[must_use]
    pub const fn importance(&self) -> Option<&Importance> {
        self.optional.importance.as_ref()
    }

    /// Which method conceals which loss best, if somebody measured it.
    #[must_use]
    pub const fn policy(&self) -> Option<&Policy> {
        self.optional.policy.as_ref()
    }

    /// What each way of coding takes in bytes and costs in accuracy, if somebody measured it.
    #[must_use]
    pub const fn ladder(&self) -> Option<&CodingLadder> {
        self.optional.ladder.as_ref()
    }

    /// The bundle with this covariance in place of any that it had.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if the covariance is of tensors of another shape, or the file would be
    /// longer than [`MAX_BUNDLE_BYTES`](limits::MAX_BUNDLE_BYTES).
    pub fn with_covariance(mut self, covariance: Covariance) -> Result<Self, SectionError> {
        let mut bytes = Vec::new();
        covariance.encode(&mut bytes);
        if Covariance::decode(&bytes, self.shape).is_err() {
            return Err(SectionError::new(
                Section::Covariance,
                "the covariance is of tensors of another shape",
            ));
        }
        self.optional.covariance = Some(covariance);
        self.checked(Section::Covariance)
    }

    /// The bundle with these weights in place of any that it had.
    ///
    /// # Errors
    ///
    /// As of [`with_covariance`](Self::with_covariance).
    pub fn with_altec(mut self, table: AltecTable) -> Result<Self, SectionError> {
        self.optional.altec = Some(table);
        self.checked(Section::Altec)
    }

    /// The bundle with this curve in place of any that it had.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if the file would be longer than
    /// [`MAX_BUNDLE_BYTES`](limits::MAX_BUNDLE_BYTES).
    pub fn with_accuracy(mut self, curve: AccuracyCurve) -> Result<Self, SectionError> {
        self.optional.accuracy = Some(curve);
        self.checked(Section::Accuracy)
    }

    /// The bundle with these values in place of any that it had.
    ///
    /// # Errors
    ///
    /// As of [`with_covariance`](Self::with_covariance).
    pub fn with_importance(mut self, importance: Importance) -> Result<Self, SectionError> {
        self.optional.importance = Some(importance);
        self.checked(Section::Importance)
    }

    /// The bundle with this policy in place of any that it had.
    ///
    /// # Errors
    ///
    /// As of [`with_accuracy`](Self::with_accuracy).
    pub fn with_policy(mut self, policy: Policy) -> Result<Self, SectionError> {
        self.optional.policy = Some(policy);
        self.checked(Section::Policy)
    }

    /// The bundle with this ladder in place of any that it had.
    ///
    /// # Errors
    ///
    /// As of [`with_accuracy`](Self::with_accuracy).
    pub fn with_ladder(mut self, ladder: CodingLadder) -> Result<Self, SectionError> {
        self.optional.ladder = Some(ladder);
        self.checked(Section::Ladder)
    }

    fn checked(self, changed: Section) -> Result<Self, SectionError> {
        self.optional.check(self.shape)?;
        if super::encode::length(&self) > limits::MAX_BUNDLE_BYTES {
            return Err(SectionError::new(
                changed,
                "with it the bundle would be longer than the limit",
            ));
        }
        Ok(self)
    }
}
