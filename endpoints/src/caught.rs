//! Keeps a panic in somebody else's decoder from ending the program.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; if it panics, gives its message.
///
/// The panic hook still runs, so the panic is also printed as usual. `work` may leave only values
/// behind that are thrown away on error.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(
            caught(|| panic!("static")),
            Err::<(), _>("static".to_owned())
        );
        assert_eq!(
            caught(|| panic!("number {}", 7)),
            Err::<(), _>("number 7".to_owned())
        );
    }
}
