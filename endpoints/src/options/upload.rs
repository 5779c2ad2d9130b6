//! Options of uploads: what a cloud takes from edges, and what an edge gives.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::LoadedModel;
use crate::classifier::SideInformation;
use crate::digest::Digest;
use crate::embedded;
use crate::store::{Store, StoreLimits};
use crate::upload::{Allowed, Offers, Uploads};
use crate::vet::{VetLimits, Vetter};

/// What a cloud takes from edges, and what of it runs.
#[derive(Args, Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "options of the command line")]
pub struct UploadOptions {
    /// Take no models or bundles from edges
    #[arg(long)]
    pub no_uploads: bool,
    /// Run only what this file lists: a SHA-256 digest of a model or bundle a line, or `built-in`; a model
    /// or bundle given by --model or --bundle runs, too
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Folder in which uploads are kept [default: tensorwire in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// What the folder may hold, MiB; what was used longest ago goes first
    #[arg(long, value_name = "MIB", default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pub cache_limit: u64,
    /// The largest upload, MiB, up to 1024
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    pub upload_limit: u64,
    /// Memory that uploaded models in use may take together, MiB
    #[arg(long, value_name = "MIB", default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pub upload_memory: u64,
    /// Memory that one uploaded model may take when it is tried, MiB, the program's own (some 100)
    /// included
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(128..=1 << 20))]
    pub vet_memory_mib: u64,
    /// Time that one uploaded model may take to be loaded and run once, seconds of one core
    #[arg(long, value_name = "S", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub vet_seconds: u64,
}

/// Uploads as options ask for them.
#[derive(Debug)]
#[non_exhaustive]
pub struct TakenUploads {
    /// None if there are none.
    pub uploads: Option<Arc<Uploads>>,
    /// The largest, bytes; 0 if there are none.
    pub limit: u64,
    /// For people: what is taken, or why nothing is.
    pub banner: String,
}

impl UploadOptions {
    /// Prepares to take uploads. Starts a child to see what holds models here.
    ///
    /// # Errors
    /// If the folder that was asked for cannot be used.
    pub fn uploads(&self) -> Result<TakenUploads> {
        let none = |why: &str| {
            Ok(TakenUploads {
                uploads: None,
                limit: 0,
                banner: format!("none taken: {why}"),
            })
        };
        if self.no_uploads {
            return none("--no-uploads");
        }
        let Some(dir) = self.cache_dir.clone().or_else(default_dir) else {
            return none("there is no home folder to keep them in; give --cache-dir");
        };
        let limits = StoreLimits {
            blob: self.upload_limit << 20,
            total: self.cache_limit << 20,
            ..StoreLimits::default()
        };
        let store = Store::new(&dir, limits);
        if self.cache_dir.is_some() {
            let prepared = store.prepare();
            prepared.with_context(|| format!("cannot keep uploads in {}", dir.display()))?;
        }
        let vetter = Vetter::new(VetLimits::new(
            self.vet_memory_mib << 20,
            Duration::from_secs(self.vet_seconds),
        ));
        let sandbox = match vetter.probe() {
            Ok(sandbox) => sandbox,
            Err(error) => return none(&format!("models cannot be tried safely here: {error}")),
        };
        let mut banner = format!(
            "up to {} MiB each, kept in {}; tried first in a process of their own (Landlock: {}, seccomp: {})",
            self.upload_limit,
            dir.display(),
            sandbox.landlock,
            if sandbox.seccomp { "yes" } else { "no" }
        );
        if !sandbox.open.is_empty() {
            let open = sandbox.open.join(", ");
            banner += &format!("\nwarning     on this system a model that is tried could {open}");
        }
        Ok(TakenUploads {
            uploads: Some(Arc::new(Uploads::new(
                store,
                vetter,
                self.upload_memory << 20,
            ))),
            limit: limits.blob,
            banner,
        })
    }

    /// What may run on a cloud with this model and bundle of its own.
    ///
    /// # Errors
    /// If the list cannot be read, or has a line that is no digest.
    pub fn allowed(&self, own: &LoadedModel, side: Option<&SideInformation>) -> Result<Allowed> {
        let Some(path) = &self.allow else {
            return Ok(Allowed::everything());
        };
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read the list {}", path.display()))?;
        let built_in = [embedded::model_file(), embedded::bundle()].map(Digest::of);
        let mut allowed = Allowed::list(&text, built_in)?;
        if !own.embedded {
            allowed = allowed.with(own.model.digest());
            if let Some(side) = side {
                allowed = allowed.with(side.digest);
            }
        }
        Ok(allowed)
    }
}

/// What an edge gives to clouds.
#[derive(Args, Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "options of the command line")]
pub struct OfferOptions {
    /// Send no cloud the model or bundle, though it lacks them
    #[arg(long)]
    pub no_uploads: bool,
}

impl OfferOptions {
    /// What is given of a model and the bundle that was read from `bundle`, or is built in.
    #[must_use]
    pub fn offers(
        self,
        loaded: &LoadedModel,
        side: Option<&SideInformation>,
        bundle: Option<&PathBuf>,
    ) -> Offers {
        let mut offers = Offers::none();
        if self.no_uploads {
            return offers;
        }
        offers = match &loaded.path {
            Some(path) => offers.with_file(loaded.model.digest(), path),
            None => offers.with_bytes(embedded::model_file()),
        };
        match (side, bundle) {
            (Some(side), Some(path)) => offers.with_file(side.digest, path),
            (Some(_), None) => offers.with_bytes(embedded::bundle()),
            (None, _) => offers,
        }
    }
}

/// Where a user's programs keep what they can fetch again (XDG Base Directory Specification).
fn default_dir() -> Option<PathBuf> {
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME");
    let cache = cache.or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("tensorwire"))
}
