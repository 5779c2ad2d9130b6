//! The calls of OpenJPEG, over streams in memory.
//!
//! Its objects are owned by guards that free them; each callback gets a pointer to something that outlives
//! the object it was given to, and that nobody else looks at meanwhile.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::{mem, slice};

use openjpeg_sys as opj;

use crate::{Error, Shape};

/// Bits of a sample.
const DEPTH: u32 = 8;
/// Transform levels, at most.
const LEVELS: u32 = 5;
/// Bytes that OpenJPEG buffers before it calls back.
const BUFFER: usize = 1 << 14;
/// What the callbacks return where they cannot go on.
const FAILED: usize = usize::MAX;

/// Bytes that OpenJPEG reads, or that it has written.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    at: usize,
}

/// What OpenJPEG said of its errors.
#[derive(Default)]
struct Said(String);

struct Stream(NonNull<opj::opj_stream_t>);
struct Codec(NonNull<opj::opj_codec_t>);
struct Image(NonNull<opj::opj_image_t>);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: it was created by OpenJPEG and is destroyed once.
        unsafe { opj::opj_stream_destroy(self.0.as_ptr()) }
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: it was created by OpenJPEG and is destroyed once.
        unsafe { opj::opj_destroy_codec(self.0.as_ptr()) }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it was created by OpenJPEG and is destroyed once, with its components.
        unsafe { opj::opj_image_destroy(self.0.as_ptr()) }
    }
}

impl Stream {
    /// A stream over `memory`.
    ///
    /// # Safety
    /// `memory` stays where it is, untouched, until the stream is dropped.
    unsafe fn over(memory: *mut Memory, input: bool) -> Result<Self, Error> {
        // SAFETY: the functions take a stream that was just created. The callbacks have the signatures that
        // they are called with, and read their last argument as the `Memory` that it is.
        unsafe {
            let stream = opj::opj_stream_create(BUFFER, input.into());
            let stream = Self(NonNull::new(stream).ok_or_else(|| out_of_memory("make a stream"))?);
            let this = stream.0.as_ptr();
            opj::opj_stream_set_read_function(this, Some(read));
            opj::opj_stream_set_write_function(this, Some(write));
            opj::opj_stream_set_skip_function(this, Some(skip));
            opj::opj_stream_set_seek_function(this, Some(seek));
            let length = (*memory).bytes.len() as u64;
            opj::opj_stream_set_user_data_length(this, length);
            opj::opj_stream_set_user_data(this, memory.cast(), None);
            Ok(stream)
        }
    }
}

impl Codec {
    /// A codec that tells `said` of its errors.
    ///
    /// # Safety
    /// `said` stays where it is, untouched, until the codec is dropped.
    unsafe fn new(encoder: bool, said: *mut Said) -> Result<Self, Error> {
        let format = opj::CODEC_FORMAT::OPJ_CODEC_J2K;
        // SAFETY: the handler has the signature that it is called with, and reads its last argument as the
        // `Said` that it is.
        unsafe {
            let codec = if encoder {
                opj::opj_create_compress(format)
            } else {
                opj::opj_create_decompress(format)
            };
            let codec = Self(NonNull::new(codec).ok_or_else(|| out_of_memory("make a codec"))?);
            opj::opj_set_error_handler(codec.0.as_ptr(), Some(told), said.cast());
            Ok(codec)
        }
    }
}

fn out_of_memory(task: &'static str) -> Error {
    let said = "it found no memory".to_owned();
    Error::Refused { task, said }
}

fn refused(task: &'static str, said: Said) -> Error {
    let said = said.0.trim().replace('\n', "; ");
    Error::Refused { task, said }
}

/// The shape has been checked, and the samples are as many as it says.
pub(crate) fn encode(samples: &[u8], shape: Shape, ratio: u16) -> Result<Vec<u8>, Error> {
    const TASK: &str = "encode the picture";
    let (mut memory, mut said) = (Memory::default(), Said::default());
    let image = picture(samples, shape)?;
    let mut parameters = parameters(shape, ratio);
    let done = {
        // SAFETY: both are dropped at the end of the block, behind which `said` and `memory` are used again.
        let (codec, stream) = unsafe {
            let codec = Codec::new(true, &raw mut said)?;
            (codec, Stream::over(&raw mut memory, false)?)
        };
        let (codec, stream, image) = (codec.0.as_ptr(), stream.0.as_ptr(), image.0.as_ptr());
        // SAFETY: all pointers are to objects that live until the end of the block.
        unsafe {
            opj::opj_setup_encoder(codec, &raw mut parameters, image) != 0
                && opj::opj_start_compress(codec, image, stream) != 0
                && opj::opj_encode(codec, stream) != 0
                && opj::opj_end_compress(codec, stream) != 0
        }
    };
    if done {
        Ok(memory.bytes)
    } else {
        Err(refused(TASK, said))
    }
}

/// The shape has been checked.
pub(crate) fn decode(codestream: &[u8], shape: Shape) -> Result<Vec<u8>, Error> {
    const TASK: &str = "decode the codestream";
    let mut said = Said::default();
    let mut memory = Memory {
        bytes: codestream.to_vec(),
        at: 0,
    };
    let found = {
        // SAFETY: both are dropped at the end of the block, behind which `said` and `memory` are used again.
        let (codec, stream) = unsafe {
            let codec = Codec::new(false, &raw mut said)?;
            (codec, Stream::over(&raw mut memory, true)?)
        };
        let (codec, stream) = (codec.0.as_ptr(), stream.0.as_ptr());
        let mut image = ptr::null_mut();
        // SAFETY: all pointers are to objects that live until the end of the block; the parameters are
        // written whole before they are read, and zero is valid for each of their fields. The image is
        // created by OpenJPEG, if at all, and then ours to destroy.
        unsafe {
            let mut parameters = mem::zeroed();
            opj::opj_set_default_decoder_parameters(&raw mut parameters);
            let read = opj::opj_setup_decoder(codec, &raw mut parameters) != 0
                && opj::opj_decoder_set_strict_mode(codec, 1) != 0
                && opj::opj_read_header(stream, codec, &raw mut image) != 0;
            let image = NonNull::new(image).map(Image);
            match image.filter(|_| read) {
                Some(image) if !is_of(&image, shape) => Some(Err(Error::Another)),
                Some(image) => {
                    let whole = opj::opj_decode(codec, stream, image.0.as_ptr()) != 0
                        && opj::opj_end_decompress(codec, stream) != 0;
                    whole.then(|| interleaved(&image, shape))
                }
                None => None,
            }
        }
    };
    found.unwrap_or_else(|| Err(refused(TASK, said)))
}

/// How a picture is encoded.
fn parameters(shape: Shape, ratio: u16) -> opj::opj_cparameters_t {
    // SAFETY: zero is valid for every field, and OpenJPEG writes its defaults into them.
    let mut parameters: opj::opj_cparameters_t = unsafe {
        let mut parameters = mem::zeroed();
        opj::opj_set_default_encoder_parameters(&raw mut parameters);
        parameters
    };
    let levels = shape.width.min(shape.height).ilog2().min(LEVELS);
    parameters.numresolution = c_int::try_from(levels + 1).unwrap_or(1);
    parameters.irreversible = 1;
    parameters.tcp_mct = c_char::from(shape.components == 3);
    parameters.cp_disto_alloc = 1;
    parameters.tcp_numlayers = 1;
    if let Some(rate) = parameters.tcp_rates.first_mut() {
        *rate = ratio.into();
    }
    parameters
}

/// The picture as OpenJPEG takes it.
fn picture(samples: &[u8], shape: Shape) -> Result<Image, Error> {
    let Shape {
        width,
        height,
        components,
    } = shape;
    let component = opj::opj_image_cmptparm_t {
        dx: 1,
        dy: 1,
        w: width,
        h: height,
        x0: 0,
        y0: 0,
        prec: DEPTH,
        bpp: DEPTH,
        sgnd: 0,
    };
    let mut description = [component; 3];
    let space = if components == 3 {
        opj::COLOR_SPACE::OPJ_CLRSPC_SRGB
    } else {
        opj::COLOR_SPACE::OPJ_CLRSPC_GRAY
    };
    // SAFETY: the description has at least as many components as are asked for. The image then has so many,
    // each with one sample for each pixel.
    unsafe {
        let image = opj::opj_image_create(components.into(), description.as_mut_ptr(), space);
        let image = Image(NonNull::new(image).ok_or_else(|| out_of_memory("make a picture"))?);
        let this = image.0.as_ptr();
        ((*this).x0, (*this).y0) = (0, 0);
        ((*this).x1, (*this).y1) = (width, height);
        let pixels = width as usize * height as usize;
        for number in 0..usize::from(components) {
            let data = (*(*this).comps.add(number)).data;
            if data.is_null() {
                return Err(out_of_memory("make a picture"));
            }
            let plane = slice::from_raw_parts_mut(data, pixels);
            let of_it = samples.iter().skip(number);
            for (to, from) in plane.iter_mut().zip(of_it.step_by(components.into())) {
                *to = (*from).into();
            }
        }
        Ok(image)
    }
}

/// Whether the picture is of that shape, in samples of eight bits without a sign.
fn is_of(image: &Image, shape: Shape) -> bool {
    // SAFETY: OpenJPEG has filled the image, which has as many components as it says.
    unsafe {
        let this = image.0.as_ptr();
        let count = (*this).numcomps;
        count == u32::from(shape.components)
            && (0..count as usize).all(|number| {
                let component = (*this).comps.add(number);
                ((*component).w, (*component).h) == (shape.width, shape.height)
                    && ((*component).prec, (*component).sgnd) == (DEPTH, 0)
            })
    }
}

/// The samples of a decoded picture.
fn interleaved(image: &Image, shape: Shape) -> Result<Vec<u8>, Error> {
    if !is_of(image, shape) {
        return Err(Error::Another);
    }
    let components = usize::from(shape.components);
    let mut samples = vec![0; shape.samples()?];
    let pixels = samples.len() / components;
    for number in 0..components {
        // SAFETY: the image has so many components, each with one sample for each pixel, if any.
        let plane = unsafe {
            let data = (*(*image.0.as_ptr()).comps.add(number)).data;
            if data.is_null() {
                return Err(Error::Another);
            }
            slice::from_raw_parts(data, pixels)
        };
        let places = samples.iter_mut().skip(number).step_by(components);
        for (to, from) in places.zip(plane) {
            *to = u8::try_from((*from).clamp(0, 255)).unwrap_or(u8::MAX);
        }
    }
    Ok(samples)
}

/// A message of OpenJPEG.
///
/// # Safety
/// `said` is a [`Said`] that nobody else looks at, `message` a string of C.
unsafe extern "C" fn told(message: *const c_char, said: *mut c_void) {
    // SAFETY: as promised.
    unsafe {
        let said = &mut *said.cast::<Said>();
        said.0 += &CStr::from_ptr(message).to_string_lossy();
    }
}

/// Reads from memory.
///
/// # Safety
/// `memory` is a [`Memory`] that nobody else looks at, and `buffer` has room for `length` bytes.
unsafe extern "C" fn read(buffer: *mut c_void, length: usize, memory: *mut c_void) -> usize {
    // SAFETY: as promised.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let rest = memory.bytes.get(memory.at..).unwrap_or_default();
    let count = length.min(rest.len());
    if count == 0 {
        return FAILED;
    }
    // SAFETY: `rest` has so many bytes, `buffer` room for them, and they are different memory.
    unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast::<u8>(), count) };
    memory.at += count;
    count
}

/// Writes to memory.
///
/// # Safety
/// `memory` is a [`Memory`] that nobody else looks at, and `buffer` has `length` bytes.
unsafe extern "C" fn write(buffer: *mut c_void, length: usize, memory: *mut c_void) -> usize {
    // SAFETY: as promised.
    let (memory, bytes) = unsafe {
        let bytes = slice::from_raw_parts(buffer.cast::<u8>().cast_const(), length);
        (&mut *memory.cast::<Memory>(), bytes)
    };
    let end = memory.at + length;
    if memory.bytes.len() < end {
        memory.bytes.resize(end, 0);
    }
    if let Some(place) = memory.bytes.get_mut(memory.at..end) {
        place.copy_from_slice(bytes);
    }
    memory.at = end;
    length
}

/// Moves on.
///
/// # Safety
/// `memory` is a [`Memory`] that nobody else looks at.
unsafe extern "C" fn skip(count: i64, memory: *mut c_void) -> i64 {
    // SAFETY: as promised.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    match usize::try_from(count) {
        Ok(steps) if steps <= memory.bytes.len().saturating_sub(memory.at) => {
            memory.at += steps;
            count
        }
        _ => -1,
    }
}

/// Moves to a place.
///
/// # Safety
/// `memory` is a [`Memory`] that nobody else looks at.
unsafe extern "C" fn seek(place: i64, memory: *mut c_void) -> c_int {
    // SAFETY: as promised.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    match usize::try_from(place) {
        Ok(place) if place <= memory.bytes.len() => {
            memory.at = place;
            1
        }
        _ => 0,
    }
}
