//! The cloud's half of a classifier: slices → tensor and mask → concealment → model → best
//! classes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use ndarray::ArrayView3;
use tensorwire_codec::{Classification, Decoded, Decoder, Format, Ladder, Map};
use tensorwire_concealment::{Bundle, ConcealError, Concealer, LossKind, Method};
use tensorwire_protocol::ReceivedTensor;
use tensorwire_protocol::wire::ResultStatus;

use crate::cloud::{Answer, Opener, Peer, Preparing, Stages, TensorHandler};
use crate::control::{Refuse, RefuseCode};
use crate::digest::Digest;
use crate::model::{Keep, LEAST_GAIN, Model, SharedModel, top_k};
use crate::stand_in;
use crate::stream::StreamDescription;
use crate::upload::models::{Uploaded, needs};
use crate::upload::{Allowed, Uploads};
use crate::vet::Verdict;

/// Classes in a result.
const TOP: usize = 3;
/// Parts that are kept while no session uses them, so that an edge that comes again need not wait for its
/// part to be made anew.
const RECENT: usize = 2;

/// A bundle, and the digest by which edge and cloud know that they mean the same one.
#[derive(Clone, Debug)]
pub struct SideInformation {
    /// What the methods of concealment use.
    pub bundle: Arc<Bundle>,
    /// SHA-256 of its file.
    pub digest: Digest,
}

/// How what is missing is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concealment {
    /// The method.
    pub method: Method,
    /// The longest that `auto` may take for a tensor, by the bundle's measurements.
    pub budget: Option<Duration>,
}

impl Concealment {
    /// This method, without a limit to its time.
    #[must_use]
    pub const fn new(method: Method) -> Self {
        Self {
            method,
            budget: None,
        }
    }

    /// A concealer for one stream of tensors of this shape and, where it is known, kind of loss.
    ///
    /// # Errors
    /// If the method needs what the bundle does not have; [`advice`] says what to do.
    pub fn concealer(
        self,
        shape: (usize, usize, usize),
        kind: Option<LossKind>,
        side: Option<Arc<Bundle>>,
    ) -> Result<Concealer, ConcealError> {
        let mut concealer = Concealer::new(self.method, shape, side)?;
        if let Some(kind) = kind {
            concealer = concealer.with_kind(kind);
        }
        if let Some(budget) = self.budget {
            concealer = concealer.with_budget(budget);
        }
        Ok(concealer)
    }
}

/// What the loss of a slice looks like under the map of a format.
#[must_use]
pub fn loss_kind(format: &Format) -> Option<LossKind> {
    match format.map() {
        Map::Random { .. } => Some(LossKind::Elements),
        Map::ChannelRows { rows } if u32::from(rows) == format.shape().height() => {
            Some(LossKind::Channels)
        }
        Map::ChannelRows { .. } => Some(LossKind::Rows),
        Map::Mosaic { .. } => Some(LossKind::Blocks),
        _ => None,
    }
}

/// What is wrong, and which command helps, where a method cannot work.
#[must_use]
pub fn advice(error: &ConcealError) -> String {
    match error {
        ConcealError::NeedsBundle { method } => format!(
            "the method `{method}` needs a bundle: give --bundle (`tw-lab calibrate` makes one)"
        ),
        ConcealError::MissingSection { method, section } => format!(
            "the method `{method}` needs the section {section}, which the bundle lacks: make the bundle \
             again with `tw-lab calibrate`"
        ),
        other => other.to_string(),
    }
}

/// Opens sessions for a model of the cloud's own and, where it takes uploads, for those that edges bring. All
/// sessions of a model and split share its part.
#[derive(Debug)]
pub struct ClassifierOpener {
    model: Arc<Model>,
    side: Option<SideInformation>,
    concealment: Concealment,
    allowed: Allowed,
    uploads: Option<Arc<Uploads>>,
    parts: Mutex<Parts>,
    /// Tensors of several sessions in a run, at most.
    batch: usize,
    keep: Keep,
}

/// Parts of models by model and split.
#[derive(Default, Debug)]
struct Parts {
    /// Those that sessions use now: edges choose model and split, and must not fill memory with them.
    used: HashMap<(Digest, String), Weak<SharedModel>>,
    /// The newest, whether used or not; with those that were uploaded, what counts their memory.
    recent: VecDeque<(Arc<SharedModel>, Option<Arc<Uploaded>>)>,
}

/// The model of a stream.
struct Served {
    model: Arc<Model>,
    /// If it is not the cloud's own.
    uploaded: Option<(Arc<Uploaded>, Verdict)>,
}

impl ClassifierOpener {
    /// Serves `model`, filling what is missing by `concealment`.
    #[must_use]
    pub fn new(model: Arc<Model>, side: Option<SideInformation>, concealment: Concealment) -> Self {
        Self {
            model,
            side,
            concealment,
            allowed: Allowed::everything(),
            uploads: None,
            parts: Mutex::default(),
            batch: 1,
            keep: Keep::Gaining(LEAST_GAIN),
        }
    }

    /// Runs only what is allowed; default everything.
    #[must_use]
    pub fn with_allowed(mut self, allowed: Allowed) -> Self {
        self.allowed = allowed;
        self
    }

    /// Takes models and bundles from edges that bring them; default not.
    #[must_use]
    pub fn with_uploads(mut self, uploads: Option<Arc<Uploads>>) -> Self {
        self.uploads = uploads;
        self
    }

    /// Lets up to `most` tensors of several sessions run at once, 1 to 8, where that computes more of them
    /// in the same time; `keep` says how much more. What a split gains is found out in a thread of its own
    /// when its first session begins. Those of an uploaded model run one at a time,
    /// as it was vetted. Default: one at a time.
    #[must_use]
    pub const fn with_batch(mut self, most: usize, keep: Keep) -> Self {
        (self.batch, self.keep) = (most, keep);
        self
    }

    /// Opens a session whose handler is not boxed.
    ///
    /// # Errors
    /// Why there can be no session of this stream.
    pub fn classifier(&self, stream: &StreamDescription) -> Result<Classifier, Refuse> {
        let describe =
            |error: &dyn std::fmt::Display| Refuse::new(RefuseCode::Description, error.to_string());
        if stand_in::is_stand_in(stream) {
            let reason =
                "the edge streams no model's tensors; start this cloud with --stand-in, too";
            return Err(Refuse::new(RefuseCode::Model, reason));
        }
        let ladder = stream.ladder().map_err(|error| describe(&error))?;
        let format = *ladder.best();
        let served = self.served(stream)?;
        let point = served.model.split_point(&stream.split);
        let point = point.map_err(|error| Refuse::new(RefuseCode::Model, error.to_string()))?;
        if point.shape.as_tuple() != format.shape().dim() {
            let reason = format!(
                "the tensor `{}` is {}, not {}",
                stream.split,
                point.shape,
                format.shape()
            );
            return Err(Refuse::new(RefuseCode::Description, reason));
        }
        let bundle = self.bundle_for(stream)?;
        let shape = format.shape().dim();
        let concealer = self
            .concealment
            .concealer(shape, loss_kind(&format), bundle)
            .map_err(|error| Refuse::new(RefuseCode::Bundle, advice(&error)))?;
        let cloud = self.part(&served, &stream.split)?;
        let (uploaded, verdict) = served.uploaded.unzip();
        Ok(Classifier {
            verdict,
            _uploaded: uploaded,
            decoded: Decoded::new(format.shape()),
            decoder: Decoder::new(&format),
            ladder,
            concealer,
            cloud,
        })
    }

    /// The model of a stream, if this cloud has it and may run it.
    fn served(&self, stream: &StreamDescription) -> Result<Served, Refuse> {
        let digest = Digest::from_bytes(stream.model);
        self.allowed.check("model", digest)?;
        if digest == self.model.digest() {
            let model = Arc::clone(&self.model);
            return Ok(Served {
                model,
                uploaded: None,
            });
        }
        let have = self.model.digest();
        let Some(uploads) = &self.uploads else {
            let reason = format!("this cloud has the model {have}, not {digest}, and takes none");
            return Err(Refuse::new(RefuseCode::Model, reason));
        };
        let Some((uploaded, verdict)) = uploads.model(digest, &stream.split)? else {
            // It was evicted after it came.
            let reason = format!("this cloud has the model {have}, not {digest}; ask again");
            return Err(Refuse::new(RefuseCode::Busy, reason));
        };
        Ok(Served {
            model: Arc::clone(uploaded.model()),
            uploaded: Some((uploaded, verdict)),
        })
    }

    /// The bundle for a stream. It may be missing where the method does not need one.
    fn bundle_for(&self, stream: &StreamDescription) -> Result<Option<Arc<Bundle>>, Refuse> {
        let method = self.concealment.method;
        let uploaded = self.uploaded_bundle(stream);
        if !method.needs_bundle() {
            // What there is still helps.
            let uploaded = uploaded.ok().flatten();
            let sides = self.side.iter().chain(&uploaded);
            let fitting = { sides }.find(|side| fits(side, stream));
            return Ok(fitting.map(|side| Arc::clone(&side.bundle)));
        }
        let refuse = |reason: String| Err(Refuse::new(RefuseCode::Bundle, reason));
        let uploaded = uploaded?;
        let Some(side) = uploaded.as_ref().or(self.side.as_ref()) else {
            return refuse(format!(
                "the method `{method}` needs a bundle, and this cloud has none"
            ));
        };
        if stream
            .bundle
            .is_some_and(|digest| digest != *side.digest.as_bytes())
        {
            return refuse(format!(
                "this cloud has the bundle {}, not the edge's",
                side.digest
            ));
        }
        if !fits(side, stream) {
            let split = side.bundle.split();
            return refuse(format!(
                "this cloud's bundle is for `{split}`, or for another model"
            ));
        }
        Ok(Some(Arc::clone(&side.bundle)))
    }

    /// The bundle that a stream names, if an edge brought it.
    fn uploaded_bundle(
        &self,
        stream: &StreamDescription,
    ) -> Result<Option<SideInformation>, Refuse> {
        let own = self.side.as_ref().map(|side| side.digest);
        let wanted = stream.bundle.map(Digest::from_bytes);
        match (&self.uploads, wanted) {
            (Some(uploads), Some(digest)) if Some(digest) != own && self.allowed.allows(digest) => {
                uploads.bundle(digest)
            }
            _ => Ok(None),
        }
    }

    /// The cloud's part of a model for a split, made unless a session has it already, or had it lately.
    fn part(&self, served: &Served, split: &str) -> Result<Arc<SharedModel>, Refuse> {
        let key = (served.model.digest(), split.to_owned());
        let parts = || self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts().used.get(&key).and_then(Weak::upgrade) {
            return Ok(part);
        }
        // Others need not wait for it.
        let part = served.model.cloud(split);
        let part = part.map_err(|error| Refuse::new(RefuseCode::Model, error.to_string()))?;
        let part = Arc::new(SharedModel::new(part));
        part.warm_up();
        let mut parts = parts();
        parts.used.retain(|_, part| part.strong_count() > 0);
        if let Some(first) = parts.used.get(&key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        parts.used.insert(key, Arc::downgrade(&part));
        if parts.recent.len() == RECENT {
            parts.recent.pop_front();
        }
        let uploaded = served.uploaded.as_ref();
        let counted = uploaded.map(|(uploaded, _)| Arc::clone(uploaded));
        parts.recent.push_back((Arc::clone(&part), counted));
        drop(parts);
        self.learn(&part, served, split);
        Ok(part)
    }

    /// Finds out in the background what computing several tensors at once gains.
    fn learn(&self, part: &Arc<SharedModel>, served: &Served, split: &str) {
        // What a stranger's graph does with several tensors at once has not been tried.
        if served.uploaded.is_some() {
            return;
        }
        let (most, keep) = (self.batch, self.keep);
        if most < 2 {
            return;
        }
        let (model, split, part) = (
            Arc::clone(&served.model),
            split.to_owned(),
            Arc::downgrade(part),
        );
        let thread = std::thread::Builder::new().name("tw-batch".to_owned());
        // Without a thread to spare, tensors run one at a time.
        let _ = thread.spawn(move || {
            if let Some(part) = part.upgrade() {
                part.learn(&model, &split, most, keep);
            }
        });
    }
}

fn fits(side: &SideInformation, stream: &StreamDescription) -> bool {
    side.bundle.split() == stream.split && *side.bundle.model_digest() == stream.model
}

impl Opener for ClassifierOpener {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(self.classifier(stream)?))
    }

    fn prepare<'a>(&'a self, stream: &'a StreamDescription, edge: &'a Peer) -> Preparing<'a> {
        Box::pin(async move {
            let Some(uploads) = &self.uploads else {
                return Ok(());
            };
            if stand_in::is_stand_in(stream) {
                return Ok(());
            }
            let own = self.model.digest().as_bytes() == &stream.model;
            let side = self.side.as_ref();
            let has_bundle = side.is_some_and(|side| fits(side, stream))
                && side.map(|side| *side.digest.as_bytes()) == stream.bundle;
            let method = self.concealment.method;
            let has = (own, has_bundle);
            let needs = needs(stream, &self.allowed, has, method.needs_bundle())?;
            uploads.fetch(needs, edge).await
        })
    }
}

/// One session's classifier. It conceals with an eye on the tensors before.
#[derive(Debug)]
pub struct Classifier {
    ladder: Ladder,
    /// Goes from step to step of the ladder.
    decoder: Decoder,
    decoded: Decoded,
    concealer: Concealer,
    cloud: Arc<SharedModel>,
    verdict: Option<Verdict>,
    /// Keeps the model from being evicted and loaded anew.
    _uploaded: Option<Arc<Uploaded>>,
}

impl Classifier {
    /// What vetting found about the model, if it was uploaded: among others, what a tensor takes.
    #[must_use]
    pub const fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Decodes what arrived of a tensor. What is missing is 0 in the tensor and false in the mask.
    pub fn decode(&mut self, tensor: &ReceivedTensor) -> &mut Decoded {
        let format = self.ladder.format(tensor.info().step);
        if let Some(format) = format {
            self.decoder.switch(format);
        }
        // The session takes no tensor of another step.
        let slice = |index| format.and_then(|_| tensor.slice(index));
        self.decoder.decode_into(slice, &mut self.decoded);
        &mut self.decoded
    }

    /// The tensor decoded last, filled or not.
    #[must_use]
    pub const fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// Fills what is missing of the tensor decoded last, and tells the method that did it.
    ///
    /// # Errors
    /// What failed, as a result status: a tensor of which no slice was valid is not worth concealing.
    pub fn conceal(&mut self) -> Result<Method, ResultStatus> {
        let Decoded {
            tensor,
            mask,
            received,
            ..
        } = &mut self.decoded;
        if *received == 0 {
            return Err(ResultStatus::Undecodable);
        }
        let concealed = self.concealer.conceal(tensor.view_mut(), mask.view());
        concealed.map_err(|_| ResultStatus::ModelFailed)
    }

    /// Runs the model on the tensor decoded and filled last.
    ///
    /// # Errors
    /// What failed, as a result status.
    pub fn run(&self) -> Result<Vec<f32>, ResultStatus> {
        self.cloud
            .single()
            .run(self.decoded.tensor.view())
            .map_err(|_| ResultStatus::ModelFailed)
    }

    /// The answer that tells the best classes of these logits.
    #[must_use]
    pub fn answer(logits: Result<Vec<f32>, ResultStatus>) -> Answer {
        let answer = logits.and_then(|logits| {
            let classes = top_k(&logits, TOP).into_iter();
            let classes =
                classes.filter_map(|(class, score)| Some((u32::try_from(class).ok()?, score)));
            let classification = Classification {
                classes: classes.collect(),
            };
            classification
                .encode()
                .map_err(|_| ResultStatus::ModelFailed)
        });
        match answer {
            Ok(payload) => Answer {
                status: ResultStatus::Done,
                payload: Bytes::from(payload),
            },
            Err(status) => Answer {
                status,
                payload: Bytes::new(),
            },
        }
    }
}

impl TensorHandler for Classifier {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        let prepared = self.prepare(tensor);
        Self::answer(prepared.and_then(|()| self.run()))
    }

    fn stages(&mut self) -> Option<&mut dyn Stages> {
        Some(self)
    }
}

impl Stages for Classifier {
    fn model(&self) -> &Arc<SharedModel> {
        &self.cloud
    }

    fn prepare(&mut self, tensor: &ReceivedTensor) -> Result<(), ResultStatus> {
        self.decode(tensor);
        self.conceal().map(|_| ())
    }

    fn features(&self) -> ArrayView3<'_, f32> {
        self.decoded.tensor.view()
    }

    fn finish(&mut self, scores: Result<Vec<f32>, ResultStatus>) -> Answer {
        Self::answer(scores)
    }
}
