//! What is measured: the options with their defaults, and what has to be left out.

use anyhow::{Result, bail};
use tensorwire_concealment::Method;

use super::Options;
use crate::lab::evaluate::Evaluation;
use crate::lab::experiment::loss::{Cell, Fill, LOW_RANK, Lost, obstacle};

/// What is asked for, defaults filled in, and what had to be left out.
#[derive(Debug)]
pub(super) struct Plan {
    patterns: Vec<Lost>,
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
                let packets = Lost::packets().filter(|_| full);
                Lost::units().chain(packets).collect()
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
                    if let Some(reason) = obstacle(evaluation, *method, options.motion.is_some())? {
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

    /// Every map at every share with every method.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = vec![];
        for lost in &self.patterns {
            for missing in &self.missing {
                cells.extend(self.methods.iter().map(|(method, images)| Cell {
                    lost: *lost,
                    missing: *missing,
                    burst: None,
                    fill: Fill::Method(*method),
                    images: *images,
                }));
            }
        }
        cells
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
        if let Some(reason) = obstacle(evaluation, *method, options.motion.is_some())? {
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
