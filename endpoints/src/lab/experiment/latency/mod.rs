//! Latency: every term of the model of a split, measured on this machine.

mod terms;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use ndarray::Array3;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tensorwire_codec::{ClipRange, Decoded, Decoder, Encoder, Shape};

use super::bench::Bench;
pub(in crate::lab) use super::bench::Pictures;
use super::coding::Coding;
use super::size::jpeg;
use super::values::{Count, Quality};
use crate::images::Image;
use crate::lab::evaluate::Evaluation;
use crate::statistics::Percentiles;

pub(in crate::lab) use terms::{Circumstances, Terms, fastest, regions};

/// Images that are run before times count.
const WARM_UP: usize = 3;
/// Standard deviations to either side of the clip range where no bundle says one.
const SIGMA: f32 = 4.0;

/// The section `[latency]` of a plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LatencyPlan {
    /// Tensors at which the model is split; none: the description's.
    #[serde(default)]
    pub(super) splits: Vec<String>,
    coders: Vec<Coding>,
    /// JPEG quality of the input, where the server does everything.
    #[serde(default = "quality")]
    input_quality: Quality,
    /// Images that are timed.
    #[serde(default = "images")]
    images: Count,
    /// Round-trip time of the path for which the report draws curves, milliseconds.
    #[serde(default = "rtt")]
    rtt_ms: f64,
    /// How many times as long everything takes at the edge, in the curves.
    #[serde(default = "one")]
    edge_slowdown: f64,
    /// By how much what the cloud does is faster, in the curves.
    #[serde(default = "one")]
    server_speedup: f64,
}

const fn quality() -> Quality {
    Quality(90)
}

const fn images() -> Count {
    Count(50)
}

const fn rtt() -> f64 {
    20.0
}

const fn one() -> f64 {
    1.0
}

/// One way to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    way: Way,
    images: usize,
    at: Circumstances,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Client,
    Server { quality: u8 },
    Split(Coding),
}

/// What does not depend on a clock.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    coder: String,
    images: usize,
    entries: usize,
    /// The edge's share of the model's multiply-accumulates.
    work_share: f64,
    /// Mean bytes of a tensor or of the input's JPEG file; none where nothing is sent.
    bytes_mean: Option<f64>,
    rtt_ms: f64,
    edge_slowdown: f64,
    server_speedup: f64,
}

impl LatencyPlan {
    /// The cells of a split, with their keys.
    pub(super) fn cells(&self, split: &str) -> Vec<(String, Cell)> {
        let coders = self.coders.iter();
        coders
            .map(|coding| (format!("{split} {coding}"), self.cell(Way::Split(*coding))))
            .collect()
    }

    /// The cells in which the model is not split.
    pub(super) fn whole_cells(&self) -> Vec<(String, Cell)> {
        let Quality(quality) = self.input_quality;
        vec![
            ("client".to_owned(), self.cell(Way::Client)),
            (
                format!("{} jpeg:{quality}", Pictures::SPLIT),
                self.cell(Way::Server { quality }),
            ),
        ]
    }

    fn cell(&self, way: Way) -> Cell {
        Cell {
            way,
            images: self.images.0 as usize,
            at: Circumstances {
                rtt_ms: self.rtt_ms,
                edge_slowdown: self.edge_slowdown,
                server_speedup: self.server_speedup,
            },
        }
    }

    pub(super) fn shared(&self) -> String {
        format!(
            "{} images, rtt {} ms, edge × {}, server ÷ {}",
            self.images.0, self.rtt_ms, self.edge_slowdown, self.server_speedup
        )
    }
}

impl Cell {
    /// Times a split.
    pub(super) fn measure(&self, bench: &Bench) -> Result<(Value, Value)> {
        let Way::Split(coding) = self.way else {
            bail!("this way needs no split");
        };
        let evaluation = &bench.evaluation;
        let bundle = evaluation.parts().first().and_then(|part| part.bundle());
        let range = match bundle {
            Some(bundle) => ClipRange::new(bundle.clip().low, bundle.clip().high)?,
            None => {
                let first = bench.subjects.first().context("there are no images")?;
                ClipRange::sigma_of(first.tensor.view(), SIGMA)?
            }
        };
        let images = self.images.min(bench.subjects.len());
        let terms = time_split(evaluation, coding, range, images)?;
        let loaded = evaluation.loaded();
        let point = loaded.model.split_point(&loaded.split)?;
        self.rows(
            &loaded.description.name,
            (&loaded.split, coding.to_string()),
            (images, point.elements(), point.work_share),
            terms,
        )
    }

    /// Times the whole model, here or there.
    pub(super) fn measure_whole(&self, pictures: &Pictures) -> Result<(Value, Value)> {
        let quality = match self.way {
            Way::Client => None,
            Way::Server { quality } => Some(quality),
            Way::Split(_) => bail!("this way needs a split"),
        };
        let images = self.images.min(pictures.pictures.len());
        let terms = time_whole(pictures, quality, images)?;
        let first = pictures.pictures.first().context("there are no images")?;
        let entries = first.image.pixels().len();
        let (split, coder, share) = match quality {
            None => ("client", "–".to_owned(), 1.0),
            Some(quality) => (Pictures::SPLIT, format!("jpeg:{quality}"), 0.0),
        };
        let size = (images, entries, share);
        self.rows(pictures.model(), (split, coder), size, terms)
    }

    fn rows(
        &self,
        model: &str,
        (split, coder): (&str, String),
        (images, entries, work_share): (usize, usize, f64),
        terms: Terms,
    ) -> Result<(Value, Value)> {
        let row = Row {
            model: model.to_owned(),
            split: split.to_owned(),
            coder,
            images,
            entries,
            work_share,
            bytes_mean: terms.bytes,
            rtt_ms: self.at.rtt_ms,
            edge_slowdown: self.at.edge_slowdown,
            server_speedup: self.at.server_speedup,
        };
        Ok((serde_json::to_value(row)?, json!({ "terms": terms })))
    }
}

/// Milliseconds that something took, image after image.
#[derive(Debug, Default)]
struct Clock(Vec<f64>);

impl Clock {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.push(start.elapsed().as_secs_f64() * 1e3);
        result
    }

    /// The median of all but the first few.
    fn median(self) -> f64 {
        let warm = if self.0.len() > 2 * WARM_UP {
            WARM_UP
        } else {
            0
        };
        let counted = Percentiles::of(self.0.into_iter().skip(warm).collect());
        counted.at(50.0).unwrap_or_default()
    }
}

/// Times every term of a split on one thread, medians over the first images.
pub(in crate::lab) fn time_split(
    evaluation: &Evaluation,
    coding: Coding,
    range: ClipRange,
    images: usize,
) -> Result<Terms> {
    let shape = Shape::of(evaluation.shape())?;
    let format = coding.format(shape, range)?;
    let (mut encoder, mut decoder) = (Encoder::new(&format), Decoder::new(&format));
    let mut decoded = Decoded::new(shape);
    let [mut client, mut encode, mut decode, mut server] = [(); 4].map(|()| Clock::default());
    let mut bytes = 0;
    for item in 0..images {
        let sample = evaluation.labelled(item)?.sample;
        let input = evaluation.input(sample)?;
        let tensor: Array3<f32> = client.time(|| evaluation.run_edge(&input))?;
        let encoded = encode.time(|| encoder.encode(tensor.view()))?;
        bytes += encoded.bytes().len();
        decode.time(|| decoder.decode_into(|slice| Some(encoded.slice(slice)), &mut decoded));
        server.time(|| evaluation.run_cloud(&decoded.tensor))?;
    }
    Ok(Terms {
        name: format!("{} {coding}", evaluation.loaded().split),
        bytes: Some(bytes as f64 / images.max(1) as f64),
        client_ms: client.median(),
        encode_ms: encode.median(),
        decode_ms: decode.median(),
        server_ms: server.median(),
    })
}

/// Times the whole model on one thread: at the edge, or with a quality of the input's JPEG in the cloud.
pub(in crate::lab) fn time_whole(
    pictures: &Pictures,
    quality: Option<u8>,
    images: usize,
) -> Result<Terms> {
    let [mut model, mut encode, mut decode] = [(); 3].map(|()| Clock::default());
    let mut bytes = 0;
    for picture in pictures.pictures.iter().take(images) {
        let mut image = picture.image.clone();
        if let Some(quality) = quality {
            let (file, _) = encode.time(|| jpeg(&image, quality))?;
            bytes += file.len();
            image = decode.time(|| Image::decode(&file))?;
        }
        model.time(|| pictures.run(image))?;
    }
    let (model, encode) = (model.median(), encode.median());
    let bytes = bytes as f64 / images.max(1) as f64;
    Ok(match quality {
        None => Terms {
            name: "client".to_owned(),
            bytes: None,
            client_ms: model,
            encode_ms: 0.0,
            decode_ms: 0.0,
            server_ms: 0.0,
        },
        Some(quality) => Terms {
            name: format!("server jpeg:{quality}"),
            bytes: Some(bytes),
            client_ms: 0.0,
            encode_ms: encode,
            decode_ms: decode.median(),
            server_ms: model,
        },
    })
}
