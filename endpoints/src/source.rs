//! Frames from a set of images: read, prepare, run the edge's part of the model, encode.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use ndarray::Array3;
use tensorwire_codec::EncodedTensor;
use tensorwire_protocol::Slices;

use crate::classifier::SideInformation;
use crate::description::Input;
use crate::edge::{Captured, Computed, Encoded, FrameSource};
use crate::images::Dataset;
use crate::model::EdgeModel;
use crate::options::{LoadedModel, check_unseen};
use crate::quality::Quality;

/// The images of a set as frames, over and over until there are as many as wanted.
#[derive(Debug)]
pub struct ImageSource {
    dataset: Dataset,
    input: Input,
    model: EdgeModel,
    quality: Mutex<Quality>,
    least_bytes: Option<usize>,
    side: Option<SideInformation>,
    frames: u64,
}

impl ImageSource {
    /// `frames` frames from `dataset`, coded by `quality`. Images that the bundle was made from are refused, one by one.
    ///
    /// # Errors
    /// If the edge's part of the model cannot be made, or cannot compute an image.
    pub fn new(
        loaded: &LoadedModel,
        dataset: Dataset,
        quality: Quality,
        side: Option<SideInformation>,
        frames: u64,
    ) -> Result<Self> {
        let model = loaded.model.edge(&loaded.split)?;
        // The first run takes several times as long as those after it: no frame should wait for that.
        model.run(Array3::zeros(model.input().as_tuple()).view())?;
        Ok(Self {
            model,
            input: loaded.description.input.clone(),
            least_bytes: quality.least_bytes(),
            quality: Mutex::new(quality),
            dataset,
            side,
            frames,
        })
    }
}

impl FrameSource for ImageSource {
    fn capture(self: Arc<Self>, number: u64) -> Result<Option<Captured>> {
        if number >= self.frames {
            return Ok(None);
        }
        let index = usize::try_from(number % self.dataset.len() as u64)?;
        let sample = self.dataset.get(index)?;
        check_unseen(self.side.as_ref(), &sample.name, &sample.digest)?;
        let image = sample.image;
        Ok(Some(Captured::new(sample.name, sample.label, move || {
            let tensor = self.model.run(self.input.prepare(image)?.view())?;
            Ok(Computed::new(move |budget| {
                let mut quality = self.quality.lock().unwrap_or_else(PoisonError::into_inner);
                let coded = quality.encode(tensor.view(), budget)?;
                Ok(Encoded {
                    step: coded.step,
                    slices: slices(coded.tensor)?,
                })
            }))
        })))
    }

    fn least_bytes(&self) -> Option<usize> {
        self.least_bytes
    }
}

/// The codec's slices as the protocol takes them.
///
/// # Errors
/// None: what the codec makes is in order.
pub fn slices(encoded: EncodedTensor) -> Result<Slices> {
    Ok(Slices::new(
        encoded.bytes().clone(),
        encoded.ends().to_vec(),
    )?)
}
