//! Loading, splitting and running a model, with an eye on what that costs.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use ndarray::Array3;

use super::verdict::{Measured, Report, Verdict, shown};
use crate::digest::Digest;
use crate::model::{MAX_MODEL_BYTES, Model, ModelError};

/// Runs that are timed, after one that is not.
const RUNS: u32 = 3;

/// Tries the model in `input` at `split`, with at most `limit` bytes of memory.
pub(super) fn model(input: impl Read, split: &str, limit: u64, mut status: Option<File>) -> Report {
    let before = peak(&mut status);
    let mut bytes = Vec::new();
    let most = MAX_MODEL_BYTES.min(limit) + 1;
    if let Err(error) = input.take(most).read_to_end(&mut bytes) {
        return match error.kind() {
            std::io::ErrorKind::OutOfMemory => Report::Memory,
            _ => Report::Failed(format!("it cannot be read: {error}")),
        };
    }
    if bytes.len() as u64 >= most {
        return Report::Memory;
    }
    match measure(&bytes, split) {
        Ok(measured) => {
            let memory = peak(&mut status).saturating_sub(before);
            Report::Passed(Verdict::new(&Measured { memory, ..measured }))
        }
        Err(error) if ran_out(&error) => Report::Memory,
        Err(error) => Report::Failed(shown(&error.to_string())),
    }
}

fn measure(bytes: &[u8], split: &str) -> Result<Measured, ModelError> {
    let start = Instant::now();
    let model = Model::from_upload(bytes)?;
    let point = model.split_point(split)?.shape;
    let cloud = model.cloud(split)?;
    let load = start.elapsed();
    // Values as they come after a quantiser: neither all alike nor special.
    let tensor = Array3::from_shape_fn(point.as_tuple(), |(c, y, x)| {
        ((c * 31 + y * 17 + x * 7) % 23) as f32 / 11.0 - 1.0
    });
    let zeros = Array3::zeros(point.as_tuple());
    let mut longest = Duration::ZERO;
    match cloud.run(zeros.view()) {
        // Some models divide by what is 0 here; a tensor of which all is missing is answered so, too.
        Ok(_) | Err(ModelError::NotFinite) => {}
        Err(error) => return Err(error),
    }
    for _ in 0..RUNS {
        let start = Instant::now();
        match cloud.run(tensor.view()) {
            Ok(_) | Err(ModelError::NotFinite) => {}
            Err(error) => return Err(error),
        }
        longest = longest.max(start.elapsed());
    }
    Ok(Measured {
        digest: Digest::of(bytes),
        input: model.input(),
        split: point,
        classes: model.classes(),
        memory: 0,
        load,
        run: longest,
    })
}

/// Whether the engine stopped because it got no memory.
fn ran_out(error: &ModelError) -> bool {
    let text = error.to_string();
    text.contains("failed to allocate") || text.contains("memory allocation")
}

/// The most memory that this process has held so far, bytes; 0 where the system does not say.
fn peak(status: &mut Option<File>) -> u64 {
    let read = |file: &mut File| {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).ok()?;
        file.take(16 * 1_024).read_to_string(&mut text).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let kib = status.as_mut().and_then(read);
    kib.unwrap_or_default() << 10
}
