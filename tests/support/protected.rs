//! Sessions in protected mode.

use tensorwire_protocol::{Cipher, Config, Protection, Secrets};

/// What the edge seals with.
pub const EDGE_SECRET: [u8; 32] = [0xE1; 32];
/// What the cloud seals with.
pub const CLOUD_SECRET: [u8; 32] = [0xC2; 32];

/// The configurations of an edge and a cloud, protected.
pub fn protected((mut edge, mut cloud): (Config, Config), cipher: Cipher) -> (Config, Config) {
    let secrets = Secrets::new(cipher, EDGE_SECRET, CLOUD_SECRET).with_entropy([0xE3; 32]);
    edge.protection = Protection::Protected(secrets);
    let secrets = Secrets::new(cipher, CLOUD_SECRET, EDGE_SECRET).with_entropy([0xC4; 32]);
    cloud.protection = Protection::Protected(secrets);
    (edge, cloud)
}
