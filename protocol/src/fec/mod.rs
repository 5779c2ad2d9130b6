//! Reed–Solomon erasure code of source blocks (wire-format.md, section 4).
//!
//! A *symbol* holds the protected bytes of one source packet ([`put_symbol`], [`open_symbol`]). Of the
//! k symbols of a block [`encode`] makes repair symbols, as many as are wanted and at any time, and from
//! any k of all of them [`recover`] computes those that are missing, exactly. Neither knows of tensors,
//! sessions or time; both write to a buffer of the caller's and allocate nothing once it has grown.
//!
//! ```
//! use tensorwire_protocol::fec::{encode, open_symbol, put_symbol, recover};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut symbols = [Vec::new(), Vec::new(), Vec::new()];
//! for (symbol, body) in symbols.iter_mut().zip(["one", "three", "two"]) {
//!     put_symbol(0, body.as_bytes(), symbol);
//! }
//! let mut repair = Vec::new();
//! encode(symbols.iter().map(Vec::as_slice), 0, &mut repair)?;
//!
//! // The packet at position 1 is lost; the repair symbol with index 0 is at point k + 0.
//! let received = [(0, &symbols[0][..]), (2, &symbols[2][..]), (3, &repair[..])];
//! let mut out = Vec::new();
//! recover(&received, &[1], repair.len(), &mut out)?;
//! assert_eq!(open_symbol(&out)?, (0, &b"three"[..]));
//! # Ok(())
//! # }
//! ```

mod code;
mod field;
mod joint;
mod symbol;

pub use code::{CodeError, MAX_POINT, MAX_SOURCE, encode, recover};
pub use joint::{Equations, Term};
pub use symbol::{PREFIX, SymbolError, open_symbol, put_symbol};
