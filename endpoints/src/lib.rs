//! The edge and cloud endpoints of Tensorwire.
//!
//! - [`edge`] and [`cloud`]: the two ends of a session; [`classifier`] is the cloud's model.
//! - [`stream`], [`control`], [`quic`]: what they agree on, and how they say it.
//! - [`identity`]: who may connect, and to whom.
//! - [`carrier`]: what tensors travel on, and the sessions that are not TSP.
//! - [`datapath`]: the UDP socket and the only loop that drives TSP sessions; [`clock`], its clock.
//! - [`port`]: one UDP port for QUIC and TSP.
//! - [`options`]: the command line that the binaries share; [`embedded`]: what is built in.
//! - [`quality`]: coding tensors by the step that there is room for.
//! - [`source`]: frames from images; [`shutdown`]: how programs end.
//! - [`stand_in`]: streams without a model, to measure the network.
//! - [`relay`]: a link emulator between UDP sockets; [`capture`]: datagrams in files.
//! - [`model`]: ONNX classifiers, split in two at a named tensor.
//! - [`description`]: what a model's images have to look like, and what its classes are called.
//! - [`images`]: pictures, and sets of them with labels.
//! - [`digest`]: SHA-256 digests of models, bundles and images.
//! - [`store`]: what edges upload, on disk by digest.
//! - [`vet`]: models of strangers, tried in a process of their own.
//! - [`upload`]: models and bundles that edges bring.
//! - [`statistics`]: intervals of accuracies, percentiles of latencies.

#![forbid(unsafe_code)]

pub mod capture;
pub mod carrier;
mod caught;
pub mod classifier;
pub mod clip;
pub mod clock;
pub mod cloud;
pub mod control;
pub mod datapath;
pub mod description;
pub mod digest;
pub mod edge;
pub mod embedded;
mod hex;
pub mod identity;
pub mod images;
pub mod lab;
pub mod model;
pub mod options;
pub mod port;
pub mod quality;
pub mod quic;
pub mod relay;
pub mod shutdown;
pub mod source;
pub mod stand_in;
pub mod statistics;
pub mod store;
pub mod stream;
pub mod upload;
pub mod vet;
