//! The parts of models that sessions share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::digest::Digest;
use crate::model::{Keep, LEAST_GAIN, Model, ModelError, SharedModel};

/// Parts that are kept while no session uses them, so that an edge that comes again need not wait for its
/// part to be made anew.
const RECENT: usize = 2;

/// The cloud's parts, by model and split.
#[derive(Debug)]
pub(super) struct Parts {
    state: Mutex<State>,
    /// Tensors of several sessions in a run, at most.
    batch: usize,
    keep: Keep,
}

#[derive(Default, Debug)]
struct State {
    /// Those that sessions use now: edges choose model and split, and must not fill memory with them.
    used: HashMap<(Digest, String), Weak<SharedModel>>,
    /// The newest of the cloud's own model, whether used or not.
    recent: VecDeque<Arc<SharedModel>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            batch: 1,
            keep: Keep::Gaining(LEAST_GAIN),
        }
    }
}

impl Parts {
    /// Lets up to `most` tensors run at once from now on, in parts that are made from now on.
    pub(super) const fn set_batch(&mut self, most: usize, keep: Keep) {
        (self.batch, self.keep) = (most, keep);
    }

    /// The part of a model after a split, made unless a session has it already, or had it lately.
    ///
    /// Only of the cloud's `own` model tensors ever run at once: what an edge brought was tried with one
    /// image at a time, and must not take the memory of eight.
    pub(super) fn get(
        &self,
        model: &Arc<Model>,
        split: &str,
        own: bool,
    ) -> Result<Arc<SharedModel>, ModelError> {
        let key = (model.digest(), split.to_owned());
        if let Some(part) = self.state().used.get(&key).and_then(Weak::upgrade) {
            return Ok(part);
        }
        // Others need not wait for it.
        let part = Arc::new(SharedModel::new(model.cloud(split)?));
        let mut state = self.state();
        state.used.retain(|_, part| part.strong_count() > 0);
        if let Some(first) = state.used.get(&key).and_then(Weak::upgrade) {
            return Ok(first);
        }
        state.used.insert(key, Arc::downgrade(&part));
        if own {
            if state.recent.len() == RECENT {
                state.recent.pop_front();
            }
            state.recent.push_back(Arc::clone(&part));
            self.learn(&part, Arc::clone(model), split.to_owned());
        }
        Ok(part)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out in the background what computing several tensors at once gains.
    fn learn(&self, part: &Arc<SharedModel>, model: Arc<Model>, split: String) {
        let (most, keep, part) = (self.batch, self.keep, Arc::downgrade(part));
        if most < 2 {
            return;
        }
        let thread = std::thread::Builder::new().name("tw-batch".to_owned());
        // Without a thread to spare, tensors run one at a time.
        let _ = thread.spawn(move || {
            if let Some(part) = part.upgrade() {
                part.learn(&model, &split, most, keep);
            }
        });
    }
}
