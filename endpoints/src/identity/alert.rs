//! What the alert means by which a peer ends a handshake (RFC 8446, section 6; RFC 9001, section 4.8), in
//! words that say who has to do what.

use quinn::ConnectionError;

/// Codes of alerts.
mod code {
    pub(super) const BAD_CERTIFICATE: u64 = 42;
    pub(super) const EXPIRED: u64 = 45;
    pub(super) const UNKNOWN_CA: u64 = 48;
    pub(super) const ACCESS_DENIED: u64 = 49;
    /// A signature is wrong: that of an authority, or that by which a peer proves to have its key.
    pub(super) const DECRYPT_ERROR: u64 = 51;
    pub(super) const CERTIFICATE_REQUIRED: u64 = 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u64 = 120;
}

/// QUIC's error codes from here on are alerts.
const CRYPTO: u64 = 0x100;

/// Why an edge has no connection, or has it no more, for the edge; none if the handshake is not to blame.
#[must_use]
pub fn at_edge(error: &ConnectionError) -> Option<&'static str> {
    match error {
        ConnectionError::ConnectionClosed(close) => Some(match alert(close.error_code.into())? {
            code::CERTIFICATE_REQUIRED => {
                "the cloud lets in only edges with a certificate: give --client-cert and --client-key"
            }
            code::EXPIRED => {
                "the cloud says that our certificate (--client-cert) has expired: renew it"
            }
            code::BAD_CERTIFICATE..=code::ACCESS_DENIED | code::DECRYPT_ERROR => {
                "the cloud does not take our certificate (--client-cert); whoever runs it can add its \
                 fingerprint (--client-pin) or its authority (--client-ca)"
            }
            code::NO_APPLICATION_PROTOCOL => {
                "what answers there speaks no version of the protocol that we speak: is it a cloud?"
            }
            _ => "what answers there ends the handshake",
        }),
        ConnectionError::TransportError(error) => Some(match alert(error.code.into())? {
            code::DECRYPT_ERROR => {
                "what answers there does not prove that it has the key of its certificate: it is not the \
                 cloud that it pretends to be"
            }
            _ => "what answers there fails in the handshake",
        }),
        _ => None,
    }
}

/// Why an edge came to no connection, for whoever runs the cloud; none if the handshake failed for another
/// reason than who one of the two is.
#[must_use]
pub fn at_cloud(error: &ConnectionError) -> Option<&'static str> {
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code.into())? {
            code::BAD_CERTIFICATE..=code::ACCESS_DENIED => {
                Some("it does not take this cloud's certificate for the right one")
            }
            _ => None,
        },
        ConnectionError::TransportError(error) => Some(match alert(error.code.into())? {
            code::CERTIFICATE_REQUIRED => "it shows no certificate",
            code::EXPIRED => "its certificate has expired",
            code::UNKNOWN_CA => {
                "its certificate is not pinned here, and no authority vouches for it"
            }
            code::DECRYPT_ERROR => {
                "no authority vouches for its certificate, or it does not prove that it has the key"
            }
            code::BAD_CERTIFICATE..=code::ACCESS_DENIED => "its certificate is not taken",
            _ => return None,
        }),
        _ => None,
    }
}

fn alert(code: u64) -> Option<u64> {
    let alert = code.checked_sub(CRYPTO)?;
    (alert <= u64::from(u8::MAX)).then_some(alert)
}
