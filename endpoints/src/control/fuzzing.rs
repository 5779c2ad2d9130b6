//! Bodies of fuzz targets.

use super::limits::MAX_MESSAGE;
use super::message::{decode, encode};

/// Any bytes: a message or an error. What decodes says the same after its way back.
///
/// # Panics
/// If it does not: that is what the fuzzer looks for.
pub fn control_messages(bytes: &[u8]) {
    let Ok(message) = decode(bytes) else {
        return;
    };
    assert!(bytes.len() <= MAX_MESSAGE);
    let Ok(again) = encode(&message) else {
        // What was written in half a float takes a whole one.
        return;
    };
    let twice = decode(&again).map(|message| encode(&message));
    let same = matches!(twice, Ok(Ok(ref twice)) if *twice == again);
    assert!(same, "{message:?} became {twice:?}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_is_no_danger() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/control_messages");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            control_messages(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files >= 50, "{files} files");
    }
}
