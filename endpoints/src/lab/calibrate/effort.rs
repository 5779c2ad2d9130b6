//! How much a calibration measures.

use tensorwire_concealment::Method;

/// Methods that a calibration can judge, simplest first. Those that look at the previous tensor are not
/// among them: the images of a set are no stream.
pub(super) const METHODS: [Method; 10] = [
    Method::Zero,
    Method::ChannelMean,
    Method::DatasetMean,
    Method::Hybrid,
    Method::Spatial,
    Method::Altec,
    Method::Caltec,
    Method::Lmmse,
    Method::Silrtc,
    Method::Halrtc,
];

/// The low-rank methods take hundreds of times longer than the others.
pub(super) const SLOW: [Method; 2] = [Method::Silrtc, Method::Halrtc];

/// What is measured, and on how many images.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab) struct Effort {
    /// Multiplications spent on the weights of ALTeC.
    pub(super) altec: f64,
    /// The policy, if there is to be one.
    pub(super) policy: Option<Cells>,
    /// Most images for the accuracy curve, and losses of each.
    pub(super) curve: Option<(usize, u64)>,
    /// Images for the importance of channels.
    pub(super) importance: Option<usize>,
    /// Images that the steps of the ladder are judged on, if there is to be one; their bytes are
    /// measured on all.
    pub(super) ladder: Option<usize>,
}

/// The measurement behind a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells {
    pub(super) methods: &'static [Method],
    pub(super) shares: &'static [f32],
    pub(super) images: usize,
    /// Images for the [`SLOW`] methods; 0 leaves them out.
    pub(super) slow_images: usize,
}

impl Effort {
    /// `tw-lab calibrate`.
    pub(super) const WHOLE: Self = Self {
        altec: 8e9,
        policy: Some(Cells {
            methods: &METHODS,
            shares: &[0.05, 0.1, 0.2, 0.3, 0.5],
            images: 300,
            slow_images: 20,
        }),
        curve: Some((1_000, 4)),
        importance: Some(500),
        ladder: Some(2_000),
    };

    /// `tw-lab calibrate --quick`.
    pub(super) const QUICK: Self = Self {
        altec: 2e9,
        policy: Some(Cells {
            methods: &METHODS,
            shares: &[0.1, 0.3],
            images: 60,
            slow_images: 0,
        }),
        curve: Some((300, 4)),
        importance: Some(60),
        ladder: Some(200),
    };

    /// What comparing the methods on other images takes.
    pub(in crate::lab) const METHODS: Self = Self {
        altec: 2e9,
        policy: Some(Cells {
            methods: &[
                Method::Zero,
                Method::Hybrid,
                Method::Spatial,
                Method::Altec,
                Method::Caltec,
                Method::Lmmse,
            ],
            shares: &[0.1, 0.3],
            images: 60,
            slow_images: 0,
        }),
        curve: None,
        importance: None,
        ladder: None,
    };

    /// Whether it needs held-out images to measure on, besides those that the statistics are made from.
    pub(super) const fn measures(&self) -> bool {
        self.policy.is_some() || self.curve.is_some() || self.importance.is_some()
    }

    /// The same without any measuring.
    pub(super) const fn unmeasured(self) -> Self {
        Self {
            policy: None,
            curve: None,
            importance: None,
            ..self
        }
    }
}
