//! What has to be read in a certificate (X.509, RFC 5280, section 4.1): its names and dates. Signatures are
//! the TLS library's.
//!
//! ```text
//! Certificate    SEQUENCE { tbsCertificate, … }
//! tbsCertificate SEQUENCE { [0] version?, serial, algorithm, issuer, SEQUENCE { notBefore, notAfter },
//!                           subject, … }
//! ```

/// DER tags (X.690).
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OBJECT_ID: u8 = 0x06;
    pub(super) const UTF8_STRING: u8 = 0x0C;
    pub(super) const PRINTABLE_STRING: u8 = 0x13;
    pub(super) const IA5_STRING: u8 = 0x16;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const VERSION: u8 = 0xA0;
}

/// The object identifier 2.5.4.3, `commonName`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The bytes are no certificate, or not one of RFC 5280.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no X.509 certificate, or a damaged one")]
#[non_exhaustive]
pub struct NoCertificate;

/// The parts of a certificate that matter here. Borrowed from its DER bytes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Parsed<'a> {
    /// Of X.509: 3, or 1 where it has no extensions.
    pub version: u8,
    /// Whoever signed it: a distinguished name, DER.
    pub issuer: &'a [u8],
    /// Whose it is: a distinguished name, DER.
    pub subject: &'a [u8],
    /// The first second in which it is valid, since 1970 (UTC); before 1970 as 0.
    pub not_before: u64,
    /// The last second in which it is valid, since 1970 (UTC).
    pub not_after: u64,
}

impl<'a> Parsed<'a> {
    /// Reads a certificate. Bytes that follow what is read here are not looked at.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn read(der: &'a [u8]) -> Result<Self, NoCertificate> {
        let (certificate, []) = expect(tag::SEQUENCE, der)? else {
            return Err(NoCertificate);
        };
        let (body, _) = expect(tag::SEQUENCE, certificate)?;
        let (version, body) = match element(body)? {
            (tag::VERSION, version, rest) => match expect(tag::INTEGER, version)? {
                ([version @ 0..=0x7F], []) => (version + 1, rest),
                _ => return Err(NoCertificate),
            },
            _ => (1, body),
        };
        let (_serial, rest) = expect(tag::INTEGER, body)?;
        let (_algorithm, rest) = expect(tag::SEQUENCE, rest)?;
        let (issuer, rest) = expect(tag::SEQUENCE, rest)?;
        let (validity, rest) = expect(tag::SEQUENCE, rest)?;
        let (subject, _) = expect(tag::SEQUENCE, rest)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        Ok(Self {
            version,
            issuer,
            subject,
            not_before,
            not_after,
        })
    }

    /// The subject's last common name, if it has one in a usual kind of string.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a str> {
        let mut rest = self.subject;
        let mut found = None;
        while !rest.is_empty() {
            let (set, after) = expect(tag::SET, rest).ok()?;
            rest = after;
            let (attribute, _) = expect(tag::SEQUENCE, set).ok()?;
            let (kind, value) = expect(tag::OBJECT_ID, attribute).ok()?;
            if kind == COMMON_NAME
                && let Ok((tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING, text, [])) =
                    element(value)
            {
                found = std::str::from_utf8(text).ok();
            }
        }
        found
    }
}

/// One element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Result<(u8, &[u8], &[u8]), NoCertificate> {
    let [tag, length, rest @ ..] = der else {
        return Err(NoCertificate);
    };
    let (length, rest) = match *length {
        short @ ..=0x7F => (usize::from(short), rest),
        // A certificate does not fit into TLS beyond three bytes of length.
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest
                .split_at_checked(usize::from(long & 0x7F))
                .ok_or(NoCertificate)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return Err(NoCertificate),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or(NoCertificate)?;
    Ok((*tag, content, rest))
}

/// One element with that tag: its content, and what follows it.
fn expect(tag: u8, der: &[u8]) -> Result<(&[u8], &[u8]), NoCertificate> {
    match element(der)? {
        (found, content, rest) if found == tag => Ok((content, rest)),
        _ => Err(NoCertificate),
    }
}

/// A time (RFC 5280, section 4.1.2.5): seconds since 1970, and what follows it.
fn time(der: &[u8]) -> Result<(u64, &[u8]), NoCertificate> {
    let (tag, text, rest) = element(der)?;
    let digits = text.strip_suffix(b"Z").ok_or(NoCertificate)?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(NoCertificate);
    };
    let mut numbers = [0; 7];
    let expected = match tag {
        tag::UTC_TIME => 6,
        tag::GENERALIZED_TIME => 7,
        _ => return Err(NoCertificate),
    };
    if pairs.len() != expected {
        return Err(NoCertificate);
    }
    for (number, [tens, ones]) in numbers.iter_mut().zip(pairs) {
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            return Err(NoCertificate);
        }
        *number = u64::from(tens - b'0') * 10 + u64::from(ones - b'0');
    }
    let (year, [month, day, hour, minute, second]) = match (tag, numbers) {
        (tag::UTC_TIME, [year, rest @ .., _]) if year >= 50 => (1900 + year, rest),
        (tag::UTC_TIME, [year, rest @ .., _]) => (2000 + year, rest),
        (_, [century, year, rest @ ..]) => (100 * century + year, rest),
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(NoCertificate);
    }
    let seconds = (days(year, month, day) * 24 + hour) * 60 + minute;
    let seconds = (seconds * 60 + second).saturating_sub(days(1970, 1, 1) * 86_400);
    Ok((seconds, rest))
}

/// Days of the proleptic Gregorian calendar, from the first of March 401 years before year 1 on: years that
/// begin in March have their leap day at the end, and the lengths of their months follow 153 days in five.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    // The calendar repeats after 400 years, so the leap years stay where they are.
    let (year, month) = if month > 2 {
        (year + 400, month - 3)
    } else {
        (year + 399, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(common_name: &str, from: (i32, u8, u8), to: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_dates_are_those_it_was_made_with() {
        // Years before 2050 are written in another way than those from then on.
        for (from, to) in [
            ((1970, 1, 1), (2049, 12, 31)),
            ((2000, 2, 29), (2050, 1, 1)),
            ((2024, 3, 1), (2100, 3, 1)),
            ((1999, 12, 31), (4096, 1, 1)),
        ] {
            let der = certificate("camera 3", from, to);
            let parsed = Parsed::read(&der).unwrap();
            let seconds = |(year, month, day)| {
                u64::try_from(date_time_ymd(year, month, day).unix_timestamp()).unwrap()
            };
            assert_eq!(parsed.not_before, seconds(from), "{from:?}");
            assert_eq!(parsed.not_after, seconds(to), "{to:?}");
            assert_eq!(parsed.common_name(), Some("camera 3"));
            assert_eq!(parsed.version, 3);
        }
    }

    #[test]
    fn what_is_cut_off_is_no_certificate() {
        let der = certificate("x", (2020, 1, 1), (2030, 1, 1));
        for end in 0..der.len() {
            assert_eq!(
                Parsed::read(&der[..end]).unwrap_err(),
                NoCertificate,
                "{end}"
            );
        }
        let longer = [&der[..], &[0]].concat();
        assert_eq!(Parsed::read(&longer).unwrap_err(), NoCertificate);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(parsed) = Parsed::read(&bytes) {
                let _ = parsed.common_name();
            }
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at: prop::sample::Index, to: u8) {
            let mut der = certificate("x", (2020, 1, 1), (2050, 1, 1));
            let at = at.index(der.len());
            der[at] = to;
            if let Ok(parsed) = Parsed::read(&der) {
                let _ = parsed.common_name();
            }
        }
    }
}
