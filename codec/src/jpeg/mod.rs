//! JPEG slices: restart intervals of a baseline picture of the mosaic (payload format, section 7).
//!
//! `jpeg-encoder` makes the whole picture, which is cut at its restart markers. On the way back
//! every slice is walked code by code before it may enter a picture again: only then is it certain
//! that it fills exactly its own blocks. The library `zune-jpeg` decodes the picture once, with
//! grey blocks where slices are missing.

mod header;
mod picture;
mod scan;
mod tables;

pub(crate) use picture::{PictureDecoder, PictureEncoder};
