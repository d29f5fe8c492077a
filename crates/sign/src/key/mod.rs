//! Keys: read from PEM, never shown.

mod cosign;
mod pem;
mod private;
mod public;

use std::fmt;

pub(crate) use pem::blocks;
pub use pem::{PEM_BYTES_MAX, PemError};
pub use private::{KeyError, Passphrase, PrivateKey};
pub use public::{PublicKey, PublicKeyError, VerifyError};

/// What a key is. Nothing weaker is accepted anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with the length of its modulus in bits: 2048 to 4096.
    Rsa(u32),
    /// ECDSA on secp256r1.
    P256,
    /// ECDSA on secp384r1.
    P384,
    /// ECDSA on secp521r1.
    P521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// The shortest RSA key, in bits (signature specification, "Certificate Requirements").
pub const RSA_BITS_MIN: u32 = 2048;
/// The longest RSA key, in bits.
pub const RSA_BITS_MAX: u32 = 4096;

/// How a signature is made with a key. The same key may serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Notary Project: RSASSA-PSS, or ECDSA as two numbers side by side, with the hash that the
    /// length of the key chooses (signature specification, "Algorithm Selection").
    Notary,
    /// Cosign with a key: RSA PKCS #1 v1.5, ECDSA as ASN.1, both with SHA-256, or Ed25519.
    Cosign,
}

/// The hash that goes with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl KeyKind {
    /// The hash of the Notary Project's table; nothing for keys that are not in it.
    pub(crate) fn notary_hash(self) -> Option<Hash> {
        match self {
            Self::Rsa(2048) | Self::P256 => Some(Hash::Sha256),
            Self::Rsa(3072) | Self::P384 => Some(Hash::Sha384),
            Self::Rsa(4096) | Self::P521 => Some(Hash::Sha512),
            Self::Rsa(_) | Self::Ed25519 => None,
        }
    }

    /// Whether cosign has signatures with it.
    pub fn suits(self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Notary => self.notary_hash().is_some(),
            Scheme::Cosign => match self {
                Self::Rsa(_) | Self::P256 | Self::Ed25519 => true,
                Self::P384 | Self::P521 => false,
            },
        }
    }
}

impl Scheme {
    /// Which keys it takes, for messages.
    pub fn keys(self) -> &'static str {
        match self {
            Self::Notary => "RSA with 2048, 3072 or 4096 bits, or EC on P-256, P-384 or P-521",
            Self::Cosign => "EC on P-256, RSA, or Ed25519",
        }
    }
}

impl Hash {
    /// The algorithm of the library.
    pub(crate) fn algorithm(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha384 => &aws_lc_rs::digest::SHA384,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }

    /// The digest of some bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        let digest = aws_lc_rs::digest::digest(self.algorithm(), bytes);
        digest.as_ref().to_vec()
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA with {bits} bits"),
            Self::P256 => f.write_str("EC on P-256"),
            Self::P384 => f.write_str("EC on P-384"),
            Self::P521 => f.write_str("EC on P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

#[cfg(test)]
mod tests;
