//! The cloud of the demonstration: answers as any does, and keeps what arrived.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tensorwire_codec::Decoded;
use tensorwire_concealment::Method;
use tensorwire_protocol::wire::FrameNumber;
use tensorwire_protocol::{ReceivedTensor, TensorInfo, Time};

use super::run::best;
use crate::classifier::{Classifier, ClassifierOpener};
use crate::clock::Clock;
use crate::cloud::{Answer, Opener, TensorHandler};
use crate::control::Refuse;
use crate::stream::StreamDescription;

/// The method with which the cloud answers; the others are tried on the same tensors afterwards.
pub(super) const ANSWERING: Method = Method::Auto;

/// What the cloud saw of one tensor.
pub(super) struct Arrived {
    pub(super) info: TensorInfo,
    pub(super) answer: Option<u32>,
    pub(super) conceal: Duration,
    pub(super) model: Duration,
    /// When the model began.
    pub(super) began: Time,
    /// What arrived, where not all of it did.
    pub(super) incomplete: Option<Decoded>,
}

/// What the cloud saw, by frame.
pub(super) type Received = Arc<Mutex<HashMap<FrameNumber, Arrived>>>;

/// Opens sessions whose tensors are kept.
pub(super) struct DemoOpener {
    pub(super) classifiers: ClassifierOpener,
    pub(super) received: Received,
    pub(super) clock: Clock,
}

impl Opener for DemoOpener {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(DemoHandler {
            classifier: self.classifiers.classifier(stream)?,
            received: Arc::clone(&self.received),
            clock: self.clock,
        }))
    }
}

/// Answers as a cloud does, and keeps what arrived for the other methods.
struct DemoHandler {
    classifier: Classifier,
    received: Received,
    clock: Clock,
}

impl TensorHandler for DemoHandler {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        let began = self.clock.now();
        let start = Instant::now();
        let missing = self.classifier.decode(tensor).missing_entries() > 0;
        let decode = start.elapsed();
        let incomplete = missing.then(|| self.classifier.decoded().clone());
        let start = Instant::now();
        let concealed = self.classifier.conceal();
        let conceal = decode + start.elapsed();
        let start = Instant::now();
        let logits = concealed.and_then(|_| self.classifier.run());
        let model = start.elapsed();
        let answer = logits.as_deref().ok().and_then(best);
        let info = *tensor.info();
        let arrived = Arrived {
            info,
            answer,
            conceal,
            model,
            began,
            incomplete,
        };
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.insert(info.frame, arrived);
        Classifier::answer(logits)
    }
}
