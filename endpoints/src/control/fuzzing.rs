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
        // Longer than it was: only what was not written the shortest way may shrink, never grow, but
        // for the floats and nulls of absent fields.
        return;
    };
    let back = decode(&again).map(|message| encode(&message));
    match back {
        Ok(Ok(twice)) => assert_eq!(twice, again, "{message:?}"),
        other => panic!("{message:?} became {other:?}"),
    }
}
