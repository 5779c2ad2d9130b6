//! What the alert means by which a peer ends a handshake (RFC 8446, section 6; RFC 9001, section 4.8).

use quinn::ConnectionError;

/// Codes of alerts.
mod code {
    pub(super) const BAD_CERTIFICATE: u64 = 42;
    pub(super) const UNSUPPORTED_CERTIFICATE: u64 = 43;
    pub(super) const REVOKED: u64 = 44;
    pub(super) const EXPIRED: u64 = 45;
    pub(super) const CERTIFICATE_UNKNOWN: u64 = 46;
    pub(super) const UNKNOWN_CA: u64 = 48;
    pub(super) const ACCESS_DENIED: u64 = 49;
    pub(super) const CERTIFICATE_REQUIRED: u64 = 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u64 = 120;
}

/// QUIC's error codes from here on are alerts.
const CRYPTO: u64 = 0x100;

/// What the cloud means by the alert with which it ended a connection, for the edge; none if it was no
/// alert, or not about who we are.
#[must_use]
pub fn from_cloud(error: &ConnectionError) -> Option<&'static str> {
    let ConnectionError::ConnectionClosed(close) = error else {
        return None;
    };
    Some(match alert(close.error_code.into())? {
        code::CERTIFICATE_REQUIRED => {
            "the cloud lets in only edges with a certificate: give --client-cert and --client-key"
        }
        code::EXPIRED => {
            "the cloud says that our certificate (--client-cert) has expired: renew it"
        }
        code::UNKNOWN_CA
        | code::BAD_CERTIFICATE
        | code::CERTIFICATE_UNKNOWN
        | code::UNSUPPORTED_CERTIFICATE
        | code::REVOKED
        | code::ACCESS_DENIED => {
            "the cloud does not take our certificate (--client-cert); whoever runs it can add its \
             fingerprint (--client-pin) or its authority (--client-ca)"
        }
        code::NO_APPLICATION_PROTOCOL => {
            "the cloud speaks another version of the protocol; update the older of the two"
        }
        _ => return None,
    })
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
