//! Who may connect: the cloud shows that it is the one that the edge means, and the edge, if the cloud
//! wants to know, who it is.
//!
//! - [`certified`]: a certificate with its key, from files, kept in a state file, or made for one run;
//!   [`certificate`], what can be read in one.
//! - [`trust`]: which cloud an edge takes for the right one; [`known_clouds`], those that it has met.
//! - [`clients`]: which certificates of edges a cloud takes; [`token`], which tokens.
//! - [`tls`]: the handshake that all this goes into, and [`alert`] what becomes of it when it fails.
//!
//! Every handshake is TLS 1.3, is made anew (no resumption), and proves that the peer holds the key of the
//! certificate that it shows: also where any certificate will do.

pub mod alert;
pub mod certificate;
pub mod certified;
pub mod clients;
pub mod cloud;
pub mod edge;
pub mod error;
pub mod known_clouds;
pub mod name;
pub mod secret_file;
pub mod state;
pub mod tls;
pub mod token;
pub mod trust;

pub use certified::Identity;
pub use clients::Clients;
pub use cloud::{CloudIdentity, name_of};
pub use edge::EdgeIdentity;
pub use error::IdentityError;
pub use known_clouds::KnownClouds;
pub use name::Name;
pub use token::{Token, Tokens};
pub use trust::{Trust, TrustError, Verified};

/// Domains of [`Identity::secret`], so that no two uses share a key.
pub mod label {
    /// QUIC's stateless resets.
    pub const RESET: &str = "quic stateless reset";
    /// QUIC's address validation tokens.
    pub const ADDRESS_TOKEN: &str = "quic address token";
    /// The connection IDs that QUIC gives out.
    pub const CONNECTION_ID: &str = "quic connection id";
}
