//! What is measured: the options with their defaults, and what has to be left out.

use std::sync::Arc;

use anyhow::{Result, bail};
use tensorwire_concealment::{ConcealError, Method};

use super::Options;
use super::measure::Cell;
use super::pattern::Pattern;
use crate::classifier::{Concealment, advice};
use crate::lab::evaluate::Evaluation;

/// The slowest methods, a second and more for a large tensor.
const LOW_RANK: [Method; 2] = [Method::Silrtc, Method::Halrtc];

/// What is asked for, defaults filled in, and what had to be left out.
#[derive(Debug)]
pub(super) struct Plan {
    patterns: Vec<Pattern>,
    missing: Vec<f64>,
    /// And the number of images on which each is measured.
    methods: Vec<(Method, usize)>,
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(options: &Options, evaluation: &Evaluation) -> Result<Self> {
        let full = options.full;
        let patterns = options.map.as_ref().map_or_else(
            || {
                let packets = Pattern::packets().filter(|_| full);
                Pattern::units().chain(packets).collect()
            },
            |patterns| patterns.0.clone(),
        );
        let missing = options.missing.clone().unwrap_or_else(|| {
            if full {
                vec![0.05, 0.1, 0.2, 0.3]
            } else {
                vec![0.1, 0.2]
            }
        });
        let mut notes = vec![];
        let methods = match &options.methods {
            Some(methods) => {
                for method in &methods.0 {
                    if let Some(reason) = obstacle(options, evaluation, *method)? {
                        bail!("cannot measure `{method}`: {reason}");
                    }
                }
                methods.0.clone()
            }
            None => possible(options, evaluation, &mut notes)?,
        };
        let images = evaluation.len();
        let most = images.min(options.low_rank_images as usize);
        if most < images && LOW_RANK.iter().any(|method| methods.contains(method)) {
            notes.push(format!(
                "silrtc and halrtc are measured on the first {most} images only (--low-rank-images)"
            ));
        }
        let methods = methods.into_iter().map(|method| {
            let is_slow = LOW_RANK.contains(&method);
            (method, if is_slow { most } else { images })
        });
        let methods = methods.collect();
        Ok(Self {
            patterns,
            missing,
            methods,
            notes,
        })
    }

    /// Every map at every share, with all methods.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let cells = self.patterns.iter().flat_map(|pattern| {
            self.missing.iter().map(|missing| Cell {
                pattern: *pattern,
                missing: *missing,
                methods: self.methods.clone(),
            })
        });
        cells.collect()
    }
}

/// All methods that can work, with notes on the others.
fn possible(
    options: &Options,
    evaluation: &Evaluation,
    notes: &mut Vec<String>,
) -> Result<Vec<Method>> {
    let mut methods = vec![];
    for method in Method::ALL {
        if let Some(reason) = obstacle(options, evaluation, *method)? {
            let note = format!("left out: {reason}");
            if !notes.contains(&note) {
                notes.push(note);
            }
        } else if options.full || !LOW_RANK.contains(method) {
            methods.push(*method);
        }
    }
    if !options.full {
        notes.push("left out: silrtc and halrtc, which are slow (--full, or --methods)".to_owned());
    }
    Ok(methods)
}

/// Why a method cannot be measured, if it cannot.
fn obstacle(options: &Options, evaluation: &Evaluation, method: Method) -> Result<Option<String>> {
    if method.uses_previous() && options.motion.is_none() {
        let needed = "temporal and motion, which need a previous tensor: give --motion DOWN,RIGHT";
        return Ok(Some(needed.to_owned()));
    }
    for part in evaluation.parts() {
        let bundle = part.side.as_ref().map(|side| Arc::clone(&side.bundle));
        match Concealment::new(method).concealer(evaluation.shape(), None, bundle) {
            Ok(_) => {}
            Err(error @ ConcealError::NeedsBundle { .. }) => {
                return Ok(Some(format!("{}, or --swap", advice(&error))));
            }
            Err(error @ ConcealError::MissingSection { .. }) => return Ok(Some(advice(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
