//! Models and bundles that were uploaded, as the cloud uses them: vetted, loaded once, shared by sessions.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tensorwire_concealment::Bundle;

use super::Allowed;
use super::fetch::{Need, fetch};
use super::receive::Patience;
use super::wire::PeerSource;
use crate::classifier::SideInformation;
use crate::cloud::Peer;
use crate::control::{BlobKind, Refuse, RefuseCode};
use crate::digest::Digest;
use crate::model::Model;
use crate::store::{Blob, Store, StoreError};
use crate::stream::StreamDescription;
use crate::vet::{LOADER_STACK, Verdict, VetError, Vetter, step_aside};

/// What edges may bring, and what they have brought.
#[derive(Debug)]
pub struct Uploads {
    store: Arc<Store>,
    vetter: Vetter,
    patience: Patience,
    /// Bytes that all models together may take.
    memory: u64,
    models: Mutex<HashMap<Digest, Weak<Uploaded>>>,
    bundles: Mutex<HashMap<Digest, Weak<Bundle>>>,
}

/// A model that was uploaded and passed, in use.
#[derive(Debug)]
pub struct Uploaded {
    model: Arc<Model>,
    /// What it takes, as its first vetting measured.
    memory: u64,
    /// Keeps the file from being evicted.
    _file: Blob,
}

impl Uploaded {
    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

impl Uploads {
    /// Keeps uploads in `store`, vets models by `vetter`, and lets all that are in use take `memory` bytes.
    #[must_use]
    pub fn new(store: Arc<Store>, vetter: Vetter, memory: u64) -> Self {
        Self {
            store,
            vetter,
            patience: Patience::default(),
            memory,
            models: Mutex::default(),
            bundles: Mutex::default(),
        }
    }

    /// The same, with other ideas of how slow an upload may be.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Gets what is needed from an edge, but for what is here already.
    ///
    /// # Errors
    /// Why there can be no session without what could not be had.
    pub async fn fetch(self: &Arc<Self>, needs: Vec<Need>, edge: &Peer) -> Result<(), Refuse> {
        let this = Arc::clone(self);
        let lacking = tokio::task::spawn_blocking(move || this.lacking(needs)).await;
        let lacking = lacking.map_err(|error| internal(&error))?;
        for need in lacking {
            let mut source = PeerSource::new(edge, self.patience);
            match fetch(&self.store, need, &mut source, self.patience).await {
                Err(error) if need.required => return Err(error.refuse()),
                // It would have helped.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What is not in use, nor in the store in good order.
    fn lacking(&self, mut needs: Vec<Need>) -> Vec<Need> {
        needs.retain(|need| {
            let used = match need.kind {
                BlobKind::Model => used(&self.models, need.digest).is_some(),
                _ => used(&self.bundles, need.digest).is_some(),
            };
            let is_there = || {
                let blob = self.store.get(need.digest).ok().flatten();
                blob.is_some_and(|blob| blob.verify().is_ok())
            };
            !used && !is_there()
        });
        needs
    }

    /// The model with this digest, if it was uploaded, vetted for this split. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn model(
        &self,
        digest: Digest,
        split: &str,
    ) -> Result<Option<(Arc<Uploaded>, Verdict)>, Refuse> {
        let Some(blob) = self.store.get(digest).map_err(|error| stored(&error))? else {
            return Ok(None);
        };
        let vetted = self.vetter.vet(&self.store, &blob, split);
        let verdict = vetted.map_err(|error| refused(&error))?;
        if let Some(model) = used(&self.models, digest) {
            return Ok(Some((model, verdict)));
        }
        self.check_memory(&verdict)?;
        let bytes = blob.read().map_err(|error| stored(&error))?;
        let model = Arc::new(Uploaded {
            model: Arc::new(load(bytes)?),
            memory: verdict.memory,
            _file: blob,
        });
        Ok(Some((keep(&self.models, digest, model), verdict)))
    }

    /// The bundle with this digest, if it was uploaded. Blocks.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub fn bundle(&self, digest: Digest) -> Result<Option<SideInformation>, Refuse> {
        let found = match used(&self.bundles, digest) {
            Some(bundle) => Some(bundle),
            None => match self.store.get(digest).map_err(|error| stored(&error))? {
                Some(blob) => {
                    let bytes = blob.read().map_err(|error| stored(&error))?;
                    let bundle = Bundle::from_bytes(&bytes);
                    let bundle = bundle.map_err(|error| {
                        let words = format!("the bundle cannot be used: {error}");
                        Refuse::new(RefuseCode::Bundle, words)
                    })?;
                    Some(keep(&self.bundles, digest, Arc::new(bundle)))
                }
                None => None,
            },
        };
        Ok(found.map(|bundle| SideInformation { bundle, digest }))
    }

    fn check_memory(&self, verdict: &Verdict) -> Result<(), Refuse> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let used: u64 = models
            .values()
            .filter_map(Weak::upgrade)
            .map(|model| model.memory)
            .sum();
        drop(models);
        if used.saturating_add(verdict.memory) <= self.memory {
            return Ok(());
        }
        let [need, used, most] = [verdict.memory, used, self.memory].map(|bytes| bytes >> 20);
        let words = format!(
            "the model takes {need} MiB; models in use take {used} of the {most} MiB that they may"
        );
        Err(Refuse::new(RefuseCode::Memory, words))
    }
}

/// What a session needs of its edge if uploads are taken; the allowed's refusal if it may not run.
pub(crate) fn needs(
    stream: &StreamDescription,
    allowed: &Allowed,
    has: (bool, bool),
    bundle_required: bool,
) -> Result<Vec<Need>, Refuse> {
    let (has_model, has_bundle) = has;
    let mut needs = Vec::new();
    let digest = Digest::from_bytes(stream.model);
    allowed.check("model", digest)?;
    if !has_model {
        let (kind, required) = (BlobKind::Model, true);
        needs.push(Need {
            digest,
            kind,
            required,
        });
    }
    if let Some(digest) = stream.bundle.map(Digest::from_bytes)
        && !has_bundle
    {
        if bundle_required {
            allowed.check("bundle", digest)?;
        }
        if allowed.allows(digest) {
            let (kind, required) = (BlobKind::Bundle, bundle_required);
            needs.push(Need {
                digest,
                kind,
                required,
            });
        }
    }
    Ok(needs)
}

/// Parses a model that has passed, behind what sessions compute, and on a stack that is larger than that on
/// which it passed.
fn load(bytes: Vec<u8>) -> Result<Model, Refuse> {
    let thread = thread::Builder::new().name("tw-load".to_owned());
    let loader = thread.stack_size(LOADER_STACK).spawn(move || {
        step_aside();
        Model::from_upload(&bytes)
    });
    let loaded = loader.map_err(|error| internal(&error))?.join();
    let loaded = loaded.map_err(|_| internal(&"the model's thread failed"))?;
    loaded.map_err(|error| Refuse::new(RefuseCode::Vetting, error.to_string()))
}

fn used<K: Eq + Hash, V>(all: &Mutex<HashMap<K, Weak<V>>>, key: K) -> Option<Arc<V>> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(&key).and_then(Weak::upgrade)
}

/// Shares what was made; the one that was first, if another was made meanwhile.
fn keep<K: Eq + Hash, V>(all: &Mutex<HashMap<K, Weak<V>>>, key: K, made: Arc<V>) -> Arc<V> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, one| one.strong_count() > 0);
    if let Some(first) = all.get(&key).and_then(Weak::upgrade) {
        return first;
    }
    all.insert(key, Arc::downgrade(&made));
    made
}

fn internal(error: &dyn std::fmt::Display) -> Refuse {
    Refuse::new(RefuseCode::Internal, error.to_string())
}

fn stored(error: &StoreError) -> Refuse {
    match error {
        // The next request fetches it again.
        StoreError::Damaged { .. } => Refuse::new(RefuseCode::Busy, error.to_string()),
        _ => internal(&"the cloud cannot read what was uploaded"),
    }
}

fn refused(error: &VetError) -> Refuse {
    let code = match error {
        _ if error.is_the_models() => RefuseCode::Vetting,
        VetError::Busy | VetError::Slow { .. } => RefuseCode::Busy,
        _ => RefuseCode::Internal,
    };
    Refuse::new(code, error.to_string())
}
