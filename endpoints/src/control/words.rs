//! Words for people, in messages and out of them.

use super::limits::MAX_WORDS;

/// Words that fit into a message: what is too long is cut, between characters.
pub(super) fn cut(mut words: String) -> String {
    let end = (0..=MAX_WORDS.min(words.len()))
        .rev()
        .find(|end| words.is_char_boundary(*end));
    words.truncate(end.unwrap_or(0));
    words
}

/// What a peer says, fit to be shown: no control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(cut("ü".repeat(400)).len(), 512);
        assert_eq!(cut(format!("a{}", "ü".repeat(400))).len(), 511);
        assert_eq!(cut("short".to_owned()), "short");
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(shown("a\u{1b}[31mred\n"), "a[31mred");
        assert_eq!(shown(&"x".repeat(10_000)).len(), 512);
    }
}
