//! The body of a fuzz target.

use super::{Decoder, FrameError, Item, Message, TensorHead};

/// What a stream of bytes is.
#[derive(Default, PartialEq, Debug)]
struct Found {
    messages: Vec<Message>,
    tensors: Vec<TensorHead>,
    slices: Vec<u8>,
    error: Option<FrameError>,
}

/// A stream for tensors as the first three bytes say: it is the same however it is cut, within the bounds that it
/// was given, and its messages are the same after their way back.
///
/// # Panics
/// If it is not: that is what the fuzzer looks for.
pub(crate) fn carrier_frames(bytes: &[u8]) {
    let Some((&[slices, steps, cut], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let (slices, steps) = (u16::from(slices), steps % 4 + 1);
    let most = 40 * usize::from(slices);
    let decoder = || Decoder::new(slices, steps, most);
    let whole = read(decoder(), std::iter::once(stream));
    let pieces = stream.chunks(usize::from(cut).max(1));
    assert_eq!(whole, read(decoder(), pieces), "cut into pieces of {cut}");
    assert!(whole.slices.len() <= stream.len());
    for head in &whole.tensors {
        assert!(head.ends.len() == usize::from(slices) && head.step < steps);
        assert!(head.ends.is_sorted() && head.bytes() <= most);
    }
    let mut again = Vec::new();
    for message in &whole.messages {
        message.encode(&mut again);
    }
    let twice = read(decoder(), std::iter::once(again.as_slice()));
    assert_eq!((&twice.messages, twice.error), (&whole.messages, None));
}

fn read<'a>(mut decoder: Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> Found {
    let mut found = Found::default();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(Item::Message(message))) => found.messages.push(message),
                Ok(Some(Item::Tensor(head))) => found.tensors.push(head),
                Ok(Some(Item::Bytes(bytes))) => found.slices.extend_from_slice(bytes),
                Ok(None) => break,
                Err(error) => {
                    found.error = Some(error);
                    return found;
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_is_no_danger() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/carrier_frames");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            carrier_frames(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files >= 10, "{files} files");
    }
}
