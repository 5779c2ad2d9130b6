//! Files of recorded losses.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use ndarray::ArrayViewD;
use ndarray_npy::{ViewElement, ViewNpyError, ViewNpyExt as _};
use tensorwire_protocol::link::LossTrace;

use super::capture::to_cloud;
use crate::capture::is_capture;

/// Bytes of a file that are read at most: 16 for each packet that a trace can have.
const MAX_BYTES: u64 = 16 * LossTrace::MAX_PACKETS as u64;

/// How npy files begin.
const NPY: &[u8] = b"\x93NUMPY";

/// Reads a trace: CSV, npy, or what a capture lost on the way to the cloud. Where the file itself does not say what 1 means, `one_is_lost` does.
pub(super) fn read_trace(path: &Path, one_is_lost: bool) -> Result<LossTrace> {
    let what = || format!("cannot read {}", path.display());
    let mut bytes = vec![];
    let file = File::open(path).with_context(what)?;
    (&file).take(4).read_to_end(&mut bytes).with_context(what)?;
    if bytes.first_chunk().is_some_and(|magic| is_capture(*magic)) {
        return to_cloud(path);
    }
    file.take(MAX_BYTES + 1 - bytes.len() as u64)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    ensure!(
        bytes.len() as u64 <= MAX_BYTES,
        "{} has more than {MAX_BYTES} bytes, the most of a trace; cut it",
        path.display()
    );
    trace(&bytes, one_is_lost).with_context(|| format!("{} is no trace", path.display()))
}

/// A trace from the bytes of a file.
pub(super) fn trace(bytes: &[u8], one_is_lost: bool) -> Result<LossTrace> {
    let fates = if bytes.starts_with(NPY) {
        read_npy(bytes, one_is_lost)?
    } else {
        read_csv(bytes, one_is_lost)?
    };
    Ok(LossTrace::new(fates)?)
}

/// What a cell says.
#[derive(Clone, Copy)]
enum Cell {
    /// 0 or 1, true or false.
    Flag(bool),
    /// In words: whether it says `lost`.
    Word(bool),
}

impl Cell {
    fn parse(cell: &str) -> Option<Self> {
        Some(match cell.to_ascii_lowercase().as_str() {
            "lost" => Self::Word(true),
            "received" => Self::Word(false),
            "true" => Self::Flag(true),
            "false" => Self::Flag(false),
            figure => match figure.parse::<f64>().ok()? {
                0.0 => Self::Flag(false),
                1.0 => Self::Flag(true),
                _ => return None,
            },
        })
    }

    const fn is_lost(self, one_is_lost: bool) -> bool {
        match self {
            Self::Flag(one) => one == one_is_lost,
            Self::Word(lost) => lost,
        }
    }
}

/// One column of fates, headed or not, or the columns `packet` and `lost` (or `received`). A header
/// `lost` or `received` says what 1 means.
fn read_csv(bytes: &[u8], mut one_is_lost: bool) -> Result<Vec<bool>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut fates = vec![];
    let mut columns = 0;
    // `lost` in the first line is a header above figures, and a fate above words.
    let mut undecided = None;
    let mut before: Option<u64> = None;
    // Read line by line: the csv crate counts no empty lines before a record, and none of these is
    // quoted over two lines.
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let cells = || text.split(',').map(|cell| cell.trim().trim_matches('"'));
        let is_first = columns == 0;
        if is_first {
            columns = cells().count();
        }
        let given = cells().count();
        ensure!(
            given == columns && columns <= 2,
            "line {line} has {given} columns; a trace has one, or `packet,lost`"
        );
        let (first, last) = (cells().next(), cells().next_back());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let cell = Cell::parse(last);
        if is_first && columns == 2 {
            let Some(Cell::Word(lost)) = cell.filter(|_| first.eq_ignore_ascii_case("packet"))
            else {
                return Err(anyhow!(
                    "line {line} is no header `packet,lost` or `packet,received`"
                ));
            };
            one_is_lost = lost;
            continue;
        }
        let cell = match cell {
            Some(cell) => cell,
            None if is_first && last.parse::<f64>().is_err() => continue,
            None => {
                return Err(anyhow!(
                    "line {line}: `{}` is neither 0 nor 1, lost nor received",
                    shown(last)
                ));
            }
        };
        if columns == 2 {
            let packet: u64 = first.parse().with_context(|| {
                let first = shown(first);
                format!("line {line}: the first column, `{first}`, is no number of a packet")
            })?;
            ensure!(
                before.is_none_or(|before| before.checked_add(1) == Some(packet)),
                "line {line}: packet {packet} does not follow the one before; give every packet, in order"
            );
            before = Some(packet);
        } else if let (true, Cell::Word(lost)) = (is_first, cell) {
            undecided = Some(lost);
            continue;
        }
        if let Some(lost) = undecided.take() {
            match cell {
                Cell::Flag(_) => one_is_lost = lost,
                Cell::Word(_) => fates.push(lost),
            }
        }
        ensure!(
            fates.len() < LossTrace::MAX_PACKETS,
            "line {line}: more than {} packets; cut the trace",
            LossTrace::MAX_PACKETS
        );
        fates.push(cell.is_lost(one_is_lost));
    }
    fates.extend(undecided);
    Ok(fates)
}

/// What of a cell fits into a message: a file that is no text may be one long line.
fn shown(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// Reads entries of one type; none if the file's are of another.
type Entries = fn(&[u8], bool) -> Result<Option<Vec<bool>>>;

/// All entries in C order, whatever the shape.
fn read_npy(bytes: &[u8], one_is_lost: bool) -> Result<Vec<bool>> {
    // A view, unlike an array that is read, allocates nothing by what the header says.
    let readers: [Entries; 11] = [
        |bytes, lost| entries::<bool>(bytes, lost, [false, true]),
        |bytes, lost| entries::<u8>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<i8>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<u16>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<i16>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<u32>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<i32>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<u64>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<i64>(bytes, lost, [0, 1]),
        |bytes, lost| entries::<f32>(bytes, lost, [0.0, 1.0]),
        |bytes, lost| entries::<f64>(bytes, lost, [0.0, 1.0]),
    ];
    for read in readers {
        if let Some(fates) = read(bytes, one_is_lost)? {
            return Ok(fates);
        }
    }
    Err(anyhow!(
        "an array of another type; bool, integers and float32 or float64 are read"
    ))
}

/// The fates, if the entries are of this type.
fn entries<T: ViewElement + Copy + PartialEq>(
    bytes: &[u8],
    one_is_lost: bool,
    [zero, one]: [T; 2],
) -> Result<Option<Vec<bool>>> {
    let array = match ArrayViewD::<T>::view_npy(bytes) {
        Ok(array) => array,
        Err(ViewNpyError::WrongDescriptor(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    ensure!(
        array.len() <= LossTrace::MAX_PACKETS,
        "{} entries, more than {}; cut the trace",
        array.len(),
        LossTrace::MAX_PACKETS
    );
    let fate = |(index, entry): (usize, &T)| match *entry {
        entry if entry == one => Ok(one_is_lost),
        entry if entry == zero => Ok(!one_is_lost),
        _ => Err(anyhow!("entry {index} in C order is neither 0 nor 1")),
    };
    let fates: Result<Vec<bool>> = array.iter().enumerate().map(fate).collect();
    Ok(Some(fates?))
}

#[cfg(test)]
mod tests;
