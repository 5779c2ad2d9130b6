//! What the scenarios share: two sessions on a virtual clock over a seeded link, and tensors to send.

mod clock;
mod cubic;
mod dumbbell;
mod packets;
mod pair;
mod protected;
mod tap;
mod tensors;
pub mod vectors;

pub use clock::Clock;
pub use cubic::Cubic;
pub use dumbbell::{Dumbbell, Passed, SLICES, Source, Stream};
pub use packets::{Packet, everything, numbered, packet};
pub use pair::{CLOUD, EDGE, Pair, Path, configs, stream};
pub use protected::{CLOUD_SECRET, EDGE_SECRET, protected};
pub use tap::Tap;
pub use tensors::{
    arb_lengths, assert_exact, flood, frame, outgoing, released, slices, slices_of, tensor,
};
