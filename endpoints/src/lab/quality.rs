//! `tw-lab quality`: what bytes buy.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;
use tensorwire_codec::{
    ClipRange, Coder, Decoded, Decoder, Encoder, Format, Map, Quantiser, Shape,
};
use tensorwire_concealment::Bundle;

use super::calibrate::ClipOptions;
use super::evaluate::{Evaluation, EvaluationOptions, Part, Subject};
use super::figure::{Axis, Curve, Figure, Point, Style};
use super::output::{check_folders, print, write_file, write_rows};
use super::table::{Table, count, figures, interval, percent, points, words};
use super::tally::{Accuracy, Tally};
use crate::options::{CoderName, slice_bytes};

/// Levels of the quantiser before JPEG.
const JPEG_LEVELS: u16 = 256;

/// Measures the bytes of a tensor against the accuracy that coding it leaves, without losses.
///
/// Bytes are those of the slices; packets add their headers. The clip range is the bundle's.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    evaluation: EvaluationOptions,
    #[command(flatten)]
    clip: ClipOptions,
    /// Coders of the slices
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_value = "jpeg"
    )]
    coder: Vec<CoderName>,
    /// JPEG qualities, 1 to 100
    #[arg(long, value_name = "LIST", value_delimiter = ',',
        value_parser = clap::value_parser!(u8).range(1..=100),
        default_value = "10,20,30,40,50,60,70,80,90,95")]
    qualities: Vec<u8>,
    /// Levels of the quantiser before the raw coder, 2 to 256
    #[arg(long, value_name = "LIST", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(2..=256), default_value = "4,8,16,32,64,256")]
    levels: Vec<u16>,
    /// Size of a slice to aim at, bytes [default: 144 for raw; 384 for jpeg, whose slices come out at a
    /// third to a half of it on average]
    #[arg(long, value_name = "BYTES")]
    slice_bytes: Option<usize>,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the curves as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab quality --coder jpeg,raw --plot curve.svg
      both coders, the built-in model and images
  tw-lab quality --coder raw --levels 256 --sigma 3 --swap
      what a clip range of three standard deviations costs
  tw-lab quality --model m.onnx --description m.toml --split add_4 --images photos --swap
      a model and images of your own

Restart is what cutting the JPEG into slices costs: their bytes against those of a single restart
interval over the same mosaic. The interval is that of the paired drop, 95 %.";

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    model: String,
    split: String,
    coder: &'static str,
    /// JPEG quality, or levels.
    parameter: u16,
    slices: u16,
    bytes_mean: f64,
    #[serde(flatten)]
    accuracy: Accuracy,
    /// Share of bytes that restart intervals add; none for the raw coder.
    restart_overhead: Option<f64>,
}

/// A coder with its parameter.
#[derive(Clone, Copy, Debug)]
enum Setting {
    Raw(u16),
    Jpeg(u8),
}

impl Setting {
    const fn coder(self) -> Coder {
        match self {
            Self::Raw(_) => Coder::Raw,
            Self::Jpeg(quality) => Coder::Jpeg { quality },
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Raw(_) => "raw",
            Self::Jpeg(_) => "jpeg",
        }
    }

    fn parameter(self) -> u16 {
        match self {
            Self::Raw(levels) => levels,
            Self::Jpeg(quality) => quality.into(),
        }
    }
}

/// The format of a setting, and for JPEG the same with a single slice.
#[derive(Clone, Copy, Debug)]
struct Formats {
    sliced: Format,
    whole: Option<Format>,
}

impl Options {
    fn settings(&self) -> Vec<Setting> {
        let of = |coder: &CoderName| -> Vec<Setting> {
            match coder {
                CoderName::Raw => self.levels.iter().copied().map(Setting::Raw).collect(),
                CoderName::Jpeg => self.qualities.iter().copied().map(Setting::Jpeg).collect(),
            }
        };
        self.coder.iter().flat_map(of).collect()
    }

    fn range(&self, bundle: Option<&Bundle>) -> Result<ClipRange> {
        match (self.clip.given(), bundle) {
            (Some(range), _) => Ok(range),
            (None, Some(bundle)) => Ok(ClipRange::new(bundle.clip().low, bundle.clip().high)?),
            (None, None) => bail!(
                "no clip range: give --clip LOW,HIGH, a bundle with --bundle (`tw-lab calibrate` makes \
                 one), or --swap"
            ),
        }
    }

    fn formats(&self, shape: Shape, range: ClipRange, setting: Setting) -> Result<Formats> {
        let coder = setting.coder();
        let bytes = slice_bytes(self.slice_bytes, coder);
        let (levels, map) = match setting {
            Setting::Raw(levels) => (levels, Map::random_for(1, shape, levels, bytes)),
            Setting::Jpeg(_) => (
                JPEG_LEVELS,
                Map::mosaic_for(shape, JPEG_LEVELS, coder, bytes),
            ),
        };
        let quantiser = Quantiser::new(range, levels)?;
        let sliced = Format::new(shape, quantiser, map, coder)?;
        // The raw coder's slices cost nothing but their last bits.
        let whole =
            single(shape, map).and_then(|map| Format::new(shape, quantiser, map, coder).ok());
        Ok(Formats { sliced, whole })
    }
}

/// The same mosaic in a single slice.
fn single(shape: Shape, map: Map) -> Option<Map> {
    let Map::Mosaic { columns, .. } = map else {
        return None;
    };
    let (channels, height, width) = shape.dim();
    // Padded tiles count, the empty ones of the last row too.
    let tiles = channels.div_ceil(columns.into()) * usize::from(columns);
    let blocks = tiles * height.div_ceil(8) * width.div_ceil(8);
    Some(Map::Mosaic {
        columns,
        blocks: u16::try_from(blocks).ok()?,
    })
}

/// What a thread needs for one format.
struct Codec {
    encoder: Encoder,
    decoder: Decoder,
    decoded: Decoded,
    whole: Option<Encoder>,
}

impl Codec {
    fn new(formats: &Formats) -> Self {
        Self {
            encoder: Encoder::new(&formats.sliced),
            decoder: Decoder::new(&formats.sliced),
            decoded: Decoded::new(formats.sliced.shape()),
            whole: formats.whole.as_ref().map(Encoder::new),
        }
    }
}

/// What became of one image with one setting.
#[derive(Clone, Copy, Debug)]
struct Coded {
    right: bool,
    bytes: usize,
    /// As a single slice.
    whole: Option<usize>,
}

/// Measures, prints a table, and writes the rows and the plot.
///
/// # Errors
/// If something cannot be read, run or written, or an image was calibrated on.
pub fn run(options: &Options) -> Result<()> {
    check_folders([&options.json, &options.plot])?;
    if options.clip.measured() && !options.evaluation.swap() {
        bail!(
            "--sigma and --min-max choose the clip range of a calibration, so they need --swap; a \
             bundle has its own"
        );
    }
    let evaluation = options.evaluation.load_for_coders(options.clip.rule())?;
    let shape = Shape::of(evaluation.loaded().shape()?.as_tuple())?;
    let settings = options.settings();
    let formats = |part: &Part| -> Result<Vec<Formats>> {
        let range = options.range(part.bundle())?;
        settings
            .iter()
            .map(|setting| options.formats(shape, range, *setting))
            .collect()
    };
    // Of each part, of each setting.
    let formats = evaluation
        .parts()
        .iter()
        .map(formats)
        .collect::<Result<Vec<_>>>()?;
    let codecs = || {
        Ok(formats
            .iter()
            .map(|part| part.iter().map(Codec::new).collect())
            .collect())
    };
    let images = evaluation.each(codecs, |codecs: &mut Vec<Vec<Codec>>, subject| {
        let codecs = codecs
            .get_mut(subject.part)
            .context("there is no such part")?;
        let coded = codecs
            .iter_mut()
            .map(|codec| code(&evaluation, subject, codec));
        Ok((subject.right, coded.collect::<Result<Vec<_>>>()?))
    })?;
    let slices = formats.first().context("there are no images")?;
    let rows = rows(&evaluation, &settings, slices, &images)?;
    let clean = rows.first().map_or(0.0, |row| row.accuracy.top1_clean);
    print(evaluation.heading(clean))?;
    print(table(&rows).to_string())?;
    if let Some(path) = &options.plot {
        write_file(path, plot(&rows)?.as_bytes())?;
    }
    options
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_rows(path, &rows))
}

fn code(evaluation: &Evaluation, subject: &Subject, codec: &mut Codec) -> Result<Coded> {
    let encoded = codec.encoder.encode(subject.tensor.view())?;
    codec
        .decoder
        .decode_into(|slice| Some(encoded.slice(slice)), &mut codec.decoded);
    if codec.decoded.received != encoded.len() {
        bail!("the decoder refused slices of the encoder");
    }
    let whole = match &mut codec.whole {
        Some(encoder) => Some(encoder.encode(subject.tensor.view())?.bytes().len()),
        None => None,
    };
    Ok(Coded {
        right: evaluation.finds(subject.label, &codec.decoded.tensor)?,
        bytes: encoded.bytes().len(),
        whole,
    })
}

fn rows(
    evaluation: &Evaluation,
    settings: &[Setting],
    formats: &[Formats],
    images: &[(bool, Vec<Coded>)],
) -> Result<Vec<Row>> {
    let loaded = evaluation.loaded();
    let settings = settings.iter().zip(formats).enumerate();
    settings
        .map(|(number, (setting, formats))| {
            let mut tally = Tally::default();
            let (mut bytes, mut whole) = (0, Some(0));
            for (right, coded) in images {
                let coded = coded.get(number).context("there is no such setting")?;
                tally.add(*right, &[coded.right]);
                bytes += coded.bytes;
                whole = whole.zip(coded.whole).map(|(sum, more)| sum + more);
            }
            Ok(Row {
                model: loaded.description.name.clone(),
                split: loaded.split.clone(),
                coder: setting.name(),
                parameter: setting.parameter(),
                slices: formats.sliced.slice_count(),
                bytes_mean: bytes as f64 / images.len() as f64,
                accuracy: tally.accuracy().context("there are no images")?,
                restart_overhead: whole.map(|whole| bytes as f64 / whole as f64 - 1.0),
            })
        })
        .collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        words("coder"),
        figures("quality or levels"),
        figures("slices"),
        figures("samples"),
        figures("bytes"),
        figures("top-1"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("restart"),
    ]);
    for row in rows {
        table.row([
            row.coder.into(),
            row.parameter.to_string(),
            row.slices.to_string(),
            count(row.accuracy.samples),
            format!("{:.0}", row.bytes_mean),
            percent(row.accuracy.top1),
            points(row.accuracy.drop),
            interval(row.accuracy.interval()),
            row.restart_overhead
                .map_or_else(|| "–".into(), |share| format!("{:+.2} %", 100.0 * share)),
        ]);
    }
    table
}

fn plot(rows: &[Row]) -> Result<String> {
    let first = rows.first().context("there is nothing to draw")?;
    let clean = first.accuracy.top1_clean;
    let mut curves: Vec<Curve> = vec![];
    for row in rows {
        let name = match row.coder {
            "jpeg" => "JPEG, by quality",
            _ => "raw, by levels",
        };
        if curves.last().is_none_or(|curve| curve.name != name) {
            curves.push(Curve {
                name: name.into(),
                points: vec![],
                labels: vec![],
                style: Style::Joined,
            });
        }
        if let Some(curve) = curves.last_mut() {
            let [low, high] = row.accuracy.ci95;
            let ends = [(clean - high).max(0.0), (clean - low).min(1.0)];
            curve.points.push(Point {
                x: row.bytes_mean / 1e3,
                y: 100.0 * row.accuracy.top1,
                interval: Some(ends.map(|end| 100.0 * end)),
            });
            curve.labels.push(row.parameter.to_string());
        }
    }
    let figure = Figure {
        title: format!("{} at {}: bytes against accuracy", first.model, first.split),
        x: Axis {
            title: "slices of a tensor, kB".into(),
            holds: Some(0.0),
            ..Axis::default()
        },
        y: Axis {
            title: "top-1 accuracy, % (bars: 95 % interval, paired)".into(),
            ..Axis::default()
        },
        curves,
        levels: vec![("whole f32 tensor".into(), 100.0 * clean)],
    };
    figure.svg()
}
