//! What peers can do, as sets of bits: bits that a receiver does not know say nothing to it.

use minicbor::{Decode, Encode};

/// How the datagrams of a session are protected where no lower layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cipher {
    /// Not at all: CRC-32 against damage (for laboratories), or the carrier's own protection.
    Plain = 0,
    /// AES-128-GCM.
    Aes128Gcm = 1,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305 = 2,
}

/// What a side can do beyond the messages that every side knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Edge: answers Want. Cloud: asks for what it lacks.
    Upload = 0,
    /// Edge: wants Statistics. Cloud: sends them.
    Statistics = 1,
    /// Edge: heeds Drain. Cloud: sends it.
    Drain = 2,
}

/// A set of ciphers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Ciphers(#[n(0)] u32);

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Features(#[n(0)] u32);

impl Cipher {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Aes128Gcm, Self::ChaCha20Poly1305];

    /// The cipher with this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| *cipher as u32 == code)
    }

    /// What it is to a session; none where datagrams are plain.
    #[must_use]
    pub const fn of_sessions(self) -> Option<tensorwire_protocol::Cipher> {
        match self {
            Self::Plain => None,
            Self::Aes128Gcm => Some(tensorwire_protocol::Cipher::Aes128Gcm),
            Self::ChaCha20Poly1305 => Some(tensorwire_protocol::Cipher::ChaCha20Poly1305),
        }
    }

    /// Those that protect, the faster on this processor first: AES where it has instructions for that.
    #[must_use]
    pub fn preferred() -> [Self; 2] {
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        let aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
        let aes = false;
        if aes {
            [Self::Aes128Gcm, Self::ChaCha20Poly1305]
        } else {
            [Self::ChaCha20Poly1305, Self::Aes128Gcm]
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

impl Ciphers {
    /// Those that protect.
    pub const PROTECTED: Self = Self(0b110);
    /// Those that protect, and none.
    pub const ALL: Self = Self(0b111);

    /// Whether `cipher` is among them.
    #[must_use]
    pub const fn contains(self, cipher: Cipher) -> bool {
        self.0 & 1 << cipher as u32 != 0
    }

    /// Those in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first of `wished` that is among them.
    #[must_use]
    pub fn first_of(self, wished: &[Cipher]) -> Option<Cipher> {
        wished.iter().copied().find(|cipher| self.contains(*cipher))
    }
}

impl FromIterator<Cipher> for Ciphers {
    fn from_iter<I: IntoIterator<Item = Cipher>>(ciphers: I) -> Self {
        Self(ciphers.into_iter().fold(0, |set, c| set | 1 << c as u32))
    }
}

impl std::fmt::Display for Ciphers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Cipher::ALL.into_iter().filter(|c| self.contains(*c));
        let names: Vec<&str> = names.map(Cipher::name).collect();
        f.write_str(&names.join(", "))
    }
}

impl Features {
    /// Whether `feature` is among them.
    #[must_use]
    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u32 != 0
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |set, f| set | 1 << f as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_own() {
        let some: Ciphers = [Cipher::ChaCha20Poly1305].into_iter().collect();
        assert!(some.contains(Cipher::ChaCha20Poly1305));
        assert!(!some.contains(Cipher::Plain));
        assert_eq!(
            Ciphers::ALL.to_string(),
            "plain, aes-128-gcm, chacha20-poly1305"
        );
        assert_eq!(Cipher::ALL.into_iter().collect::<Ciphers>(), Ciphers::ALL);
        let wished = [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305];
        assert_eq!(some.first_of(&wished), Some(Cipher::ChaCha20Poly1305));
        assert_eq!(Ciphers::default().first_of(&wished), None);
    }

    #[test]
    fn unknown_bits_say_nothing() {
        let future: Features = minicbor::decode(&[0x19, 0xFF, 0xFE]).unwrap();
        assert!(!future.contains(Feature::Upload));
        assert!(future.contains(Feature::Drain));
        assert_eq!(Cipher::from_code(3), None);
    }
}
