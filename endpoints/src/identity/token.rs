//! Bearer tokens: an edge that knows one is let in.

use std::fmt;
use std::hint::black_box;
use std::path::Path;

use zeroize::Zeroizing;

use super::secret_file::{self, Privacy};
use super::{IdentityError, Name};
use crate::control::limits::MAX_TOKEN;
use crate::digest::Digest;

/// The shortest token that can be hard to guess, characters.
pub const MIN_TOKEN: usize = 16;
/// Tokens that a cloud can know: each costs a comparison of 32 bytes at each attempt.
pub const MAX_TOKENS: usize = 4_096;

const TOKEN: &str = "the token file";
const TOKENS: &str = "the list of tokens";

/// What an edge says to be let in. Wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Token(Zeroizing<Vec<u8>>);

impl Token {
    /// A token of 16 to 256 characters of visible ASCII; none if it is not.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        check(text).ok()?;
        Some(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }

    /// A new one of 32 random bytes, as 64 hexadecimal digits after `tw-`.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn random() -> Result<Self, IdentityError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut())
            .map_err(|error| IdentityError::Make("a token", error.to_string()))?;
        let mut text = Vec::with_capacity(3 + 2 * bytes.len());
        text.extend_from_slice(b"tw-");
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 0xF] {
                text.push(if digit < 10 {
                    b'0' + digit
                } else {
                    b'a' + digit - 10
                });
            }
        }
        Ok(Self(Zeroizing::new(text)))
    }

    /// The token in a file: its only line.
    ///
    /// # Errors
    /// If the file cannot be read, everybody can read it, or it holds something else.
    pub fn from_file(path: &Path) -> Result<Self, IdentityError> {
        let bytes = secret_file::read(TOKEN, path, Privacy::Group)?;
        let wrong = |why: &str| IdentityError::content(TOKEN, path, why);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text"))?;
        let text = text.trim_ascii();
        check(text).map_err(wrong)?;
        Ok(Self(Zeroizing::new(text.as_bytes().to_vec())))
    }

    /// The token, to be sent to a cloud that has shown who it is, or written to a file.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The same as the line of a token file.
    #[must_use]
    pub fn line(&self) -> Zeroizing<Vec<u8>> {
        let mut line = Zeroizing::new(Vec::with_capacity(self.0.len() + 1));
        line.extend_from_slice(&self.0);
        line.push(b'\n');
        line
    }

    /// Its SHA-256 digest, by which a cloud can know it without knowing the token.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&*self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "a token is one line of visible characters without spaces (`tw-lab token` makes one)",
        );
    }
    match text.len() {
        0 => Err("it is empty (`tw-lab token` makes one)"),
        1..MIN_TOKEN => {
            Err("a token of fewer than 16 characters can be guessed (`tw-lab token` makes one)")
        }
        MIN_TOKEN..=MAX_TOKEN => Ok(()),
        _ => Err("a token has at most 256 characters"),
    }
}

/// The tokens that a cloud takes, and whose they are. It keeps their digests only.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Name, Digest)>);

impl Tokens {
    /// None: no token is taken.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes this token too.
    #[must_use]
    pub fn with(mut self, name: Name, token: Digest) -> Self {
        self.0.push((name, token));
        self
    }

    /// The tokens in a file: in each line a name and the SHA-256 digest of its token (64 hexadecimal
    /// digits), or a token alone, which is then named by its line. Empty lines, and lines that begin with
    /// `#`, mean nothing.
    ///
    /// # Errors
    /// If the file cannot be read, others can change it, or everybody can read tokens in it, or a line is
    /// something else; the message names the line and never shows it.
    pub fn from_file(path: &Path) -> Result<Self, IdentityError> {
        let bytes = secret_file::read(TOKENS, path, Privacy::Public)?;
        let wrong = |why: String| IdentityError::content(TOKENS, path, why);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text".to_owned()))?;
        let mut tokens = Self::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.contains(|c: char| c.is_ascii_whitespace()) {
                // Unlike a digest, a token is nobody else's affair.
                secret_file::read(TOKENS, path, Privacy::Group)?;
            }
            let number = number + 1;
            let (name, digest) =
                entry(line, number).map_err(|why| wrong(format!("line {number}: {why}")))?;
            if tokens.0.iter().any(|(known, _)| *known == name) {
                return Err(wrong(format!("line {number}: the name is there already")));
            }
            if tokens.0.len() == MAX_TOKENS {
                return Err(wrong(format!("more than {MAX_TOKENS} tokens")));
            }
            tokens = tokens.with(name, digest);
        }
        if tokens.0.is_empty() {
            let why = "there is no token in it, so nobody could connect (`tw-lab token` makes one)";
            return Err(wrong(why.to_owned()));
        }
        Ok(tokens)
    }

    /// Whose token this is; none if it is nobody's. Takes the same time whichever it is, and for each wrong
    /// one of the same length.
    #[must_use]
    pub fn check(&self, token: &[u8]) -> Option<Name> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let digest = Digest::of(token);
        let mut found = None;
        for (name, known) in &self.0 {
            if same(known, &digest) {
                found = Some(name);
            }
        }
        found.cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

fn entry(line: &str, number: usize) -> Result<(Name, Digest), &'static str> {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(token), None, None) => {
            if token.parse::<Digest>().is_ok() {
                return Err("this looks like a SHA-256 digest; write a name and a space before it");
            }
            check(token)?;
            Ok((Name::of_line(number), Digest::of(token)))
        }
        (Some(name), Some(digest), None) => {
            let name = Name::new(name).ok_or("a name has 1 to 64 visible characters")?;
            let digest = digest.parse();
            let digest = digest.map_err(
                |_| "a name is followed by the SHA-256 digest of its token, 64 hexadecimal digits",
            )?;
            Ok((name, digest))
        }
        _ => Err("expected `NAME SHA256`, or a token alone"),
    }
}

/// Compares without telling by the time taken where two digests differ.
fn same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    black_box(pairs.fold(0, |differ, (a, b)| black_box(differ | (a ^ b)))) == 0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::identity::state;

    const PLAIN: &str = "correct-horse-battery";

    fn list(text: &str) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        state::create(&path, text.as_bytes()).unwrap();
        Tokens::from_file(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_by_itself() {
        let token = Token::random().unwrap();
        let text = format!(
            "# who may connect\n\ncam-3 {}\r\n  {PLAIN}  \n",
            token.digest()
        );
        let tokens = list(&text).unwrap();
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens.check(token.reveal()).unwrap().as_str(), "cam-3");
        assert_eq!(tokens.check(PLAIN.as_bytes()).unwrap().as_str(), "line-4");
        let digest = token.digest().to_string();
        for wrong in [
            &b""[..],
            b"correct-horse-batterz",
            &PLAIN.as_bytes()[1..],
            digest.as_bytes(),
        ] {
            assert_eq!(tokens.check(wrong), None);
        }
        assert_eq!(tokens.check(&[b'x'; MAX_TOKEN + 1]), None);
    }

    #[test]
    fn a_random_token_can_be_a_line_of_either_file() {
        let (token, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(token.reveal(), other.reveal());
        let text = std::str::from_utf8(token.reveal()).unwrap();
        assert_eq!(text.len(), 67);
        assert!(list(text).unwrap().check(token.reveal()).is_some());
        assert_eq!(Token::new(text).unwrap().digest(), token.digest());
    }

    #[test]
    fn wrong_lines_are_named_and_not_shown() {
        let digest = Digest::of("x").to_string();
        for (text, words) in [
            ("", "no token in it"),
            ("# nothing\n", "no token in it"),
            ("short\n", "line 1: a token of fewer than 16 characters"),
            (&digest, "line 1: this looks like a SHA-256 digest"),
            (
                "\ncam-3 correct-horse-battery",
                "line 2: a name is followed by the SHA-256",
            ),
            ("one two three", "line 1: expected `NAME SHA256`"),
            (
                &format!("a {digest}\na {digest}"),
                "line 2: the name is there already",
            ),
            (
                &format!("gr\u{f6}\u{df}e {digest}"),
                "line 1: a name has 1 to 64 visible",
            ),
            (
                &"x".repeat(MAX_TOKEN + 1),
                "line 1: a token has at most 256",
            ),
        ] {
            let error = list(text).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(
                !error.contains("horse") && !error.contains(&digest),
                "{error}"
            );
        }
        let many: String = (0..=MAX_TOKENS)
            .map(|n| format!("n{n} {digest}\n"))
            .collect();
        assert!(list(&many).unwrap_err().contains("more than 4096 tokens"));
    }

    #[test]
    fn a_token_file_holds_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &[u8]| {
            let _ = fs::remove_file(&path);
            state::create(&path, text).unwrap();
            Token::from_file(&path).map_err(|error| error.to_string())
        };
        let token = read(format!("{PLAIN}\n").as_bytes()).unwrap();
        assert_eq!(token.reveal(), PLAIN.as_bytes());
        for (text, words) in [
            (&b""[..], "it is empty"),
            (b"\n\n", "it is empty"),
            (b"guessable", "fewer than 16"),
            (
                b"correct-horse-battery\nstaple-correct-horse",
                "one line of visible",
            ),
            (b"correct horse battery staple", "one line of visible"),
            (b"\xFF\xFE0123456789abcdef", "it is no text"),
            (&[b'x'; MAX_TOKEN + 1], "at most 256"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(
                !error.contains("horse") && !error.contains("guessable"),
                "{error}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn everybody_may_read_digests_but_no_token() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let digest = Digest::of(PLAIN);
        for (text, refused) in [(format!("cam-3 {digest}"), false), (PLAIN.to_owned(), true)] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let tokens = Tokens::from_file(&path);
            assert_eq!(tokens.is_err(), refused, "{tokens:?}");
        }
    }

    #[test]
    fn no_token_is_shown() {
        let token = Token::new(PLAIN).unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        let tokens = Tokens::new().with(Name::new("cam-3").unwrap(), token.digest());
        let shown = format!("{tokens:?}");
        assert!(shown.contains("cam-3") && !shown.contains(&token.digest().to_string()));
    }
}
