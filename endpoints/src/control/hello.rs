//! The first messages of a connection: who speaks, which versions, and what each side can do.

use minicbor::{Decode, Encode};

use super::limits::{MAX_SOFTWARE, MAX_STATISTICS_INTERVAL};
use super::sets::{Ciphers, Features};
use super::token::Token;
use super::version::{VERSIONS, Versions};
use super::words::shown;

/// Edge to cloud: the first message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Hello {
    /// The versions that the edge speaks. In no version do the number of this message, and these keys
    /// 0 and 1 of it, mean anything else.
    #[n(0)]
    pub lowest: u32,
    /// The highest of them.
    #[n(1)]
    pub highest: u32,
    /// What the edge can do.
    #[n(2)]
    pub capabilities: Capabilities,
    /// Who the edge is, if it says so with a token.
    #[n(3)]
    pub token: Option<Token>,
    /// What runs there, for people: name and version.
    #[n(4)]
    pub software: Option<String>,
}

/// Cloud to edge: the answer to Hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Welcome {
    /// The version that both speak from here on: the highest in both ranges.
    #[n(0)]
    pub version: u32,
    /// What the cloud can do, and allows.
    #[n(1)]
    pub capabilities: Capabilities,
    /// What the cloud's limits are.
    #[n(2)]
    pub limits: SessionLimits,
    /// What runs there, for people: name and version.
    #[n(3)]
    pub software: Option<String>,
    /// What the cloud calls the edge, if it knows who it is.
    #[n(4)]
    pub name: Option<String>,
}

/// What a side can do, and allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Capabilities {
    /// Carriers: bit n for the carrier with the number n.
    #[n(0)]
    pub carriers: u32,
    /// Ciphers of the datagrams of the carrier `udp`.
    #[n(1)]
    pub ciphers: Ciphers,
    /// What else.
    #[n(2)]
    pub features: Features,
}

/// How much a cloud allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct SessionLimits {
    /// The most that the coded bytes of one tensor may be.
    #[n(0)]
    pub tensor_bytes: u64,
    /// Sessions that one connection may have at a time, at least 1.
    #[n(1)]
    pub sessions: u32,
    /// The largest blob that may be uploaded, bytes; 0 if none may.
    #[n(2)]
    pub upload_bytes: u64,
    /// Milliseconds between two Statistics of a session; 0 if they come on request only.
    #[n(3)]
    pub statistics_ms: u32,
    /// Memory that one session may take, bytes, as section 4.4 counts it.
    #[n(4)]
    pub session_bytes: u64,
}

impl Hello {
    /// Says hello in every version that this implementation speaks.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            lowest: VERSIONS.lowest,
            highest: VERSIONS.highest,
            capabilities,
            token: None,
            software: Some(software()),
        }
    }

    /// Says who it is.
    #[must_use]
    pub fn with_token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    /// The versions that the edge speaks.
    #[must_use]
    pub const fn versions(&self) -> Versions {
        Versions::new(self.lowest, self.highest)
    }

    /// What runs at the edge, fit to be shown.
    #[must_use]
    pub fn shown_software(&self) -> String {
        shown(self.software.as_deref().unwrap_or("unnamed software"))
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        check_software(self.software.as_deref())
    }
}

impl Welcome {
    /// Welcomes an edge in `version`.
    #[must_use]
    pub fn new(version: u32, capabilities: Capabilities, limits: SessionLimits) -> Self {
        Self {
            version,
            capabilities,
            limits,
            software: Some(software()),
            name: None,
        }
    }

    /// Tells the edge by which name it is known.
    #[must_use]
    pub fn to(mut self, name: Option<String>) -> Self {
        self.name = name.filter(|name| name.len() <= MAX_SOFTWARE);
        self
    }

    /// What runs at the cloud, fit to be shown.
    #[must_use]
    pub fn shown_software(&self) -> String {
        shown(self.software.as_deref().unwrap_or("unnamed software"))
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let interval = u128::from(self.limits.statistics_ms);
        if self.limits.sessions == 0 {
            return Err("a cloud that allows no session");
        }
        if interval > MAX_STATISTICS_INTERVAL.as_millis() {
            return Err("an interval of statistics beyond a minute");
        }
        check_software(self.name.as_deref())?;
        check_software(self.software.as_deref())
    }
}

impl Capabilities {
    /// What a side can do.
    #[must_use]
    pub const fn new(carriers: u32, ciphers: Ciphers, features: Features) -> Self {
        Self {
            carriers,
            ciphers,
            features,
        }
    }
}

impl SessionLimits {
    /// Limits of a cloud that allows `sessions` of `tensor_bytes` a tensor on one connection, takes
    /// no uploads, and sends statistics on request.
    #[must_use]
    pub const fn new(tensor_bytes: u64, sessions: u32) -> Self {
        Self {
            tensor_bytes,
            sessions,
            upload_bytes: 0,
            statistics_ms: 0,
            session_bytes: u64::MAX,
        }
    }
}

fn software() -> String {
    format!("tensorwire {}", env!("CARGO_PKG_VERSION"))
}

const fn check_software(name: Option<&str>) -> Result<(), &'static str> {
    match name {
        Some(name) if name.len() > MAX_SOFTWARE => Err("a name of more than 64 bytes"),
        _ => Ok(()),
    }
}
