//! What a timestamp authority says (RFC 3161): that it saw a signature, and when.

mod client;
mod request;
mod token;

pub use client::{TimestampAuthority, TimestampError};
pub use token::TokenError;

pub(crate) use token::verify;

use jiff::{SignedDuration, Timestamp};

use crate::der::Tag;
use crate::key::Hash;

/// The most bytes of a token: a chain of certificates and a signature fit many times.
pub(crate) const TOKEN_BYTES_MAX: usize = 256 * 1024;

/// A time that an authority vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The time.
    pub(crate) at: Timestamp,
    /// How far from it the truth may be.
    pub(crate) accuracy: SignedDuration,
}

impl Stamp {
    pub(crate) fn earliest(self) -> Timestamp {
        self.at.saturating_sub(self.accuracy).unwrap_or(self.at)
    }

    pub(crate) fn latest(self) -> Timestamp {
        self.at.saturating_add(self.accuracy).unwrap_or(self.at)
    }
}

/// Object identifiers, as they are written within DER.
mod oid {
    pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    pub(super) const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
    pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
    pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
    pub(super) const SIGNING_CERTIFICATE: &[u8] =
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 12];
    pub(super) const SIGNING_CERTIFICATE_V2: &[u8] =
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47];
    pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    pub(super) const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
    pub(super) const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub(super) const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    pub(super) const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
    pub(super) const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
    /// RFC 3628, 5.2: the policy whose accuracy is a second.
    pub(super) const BASELINE_POLICY: &[u8] = &[0x04, 0x00, 0x8f, 0x67, 1, 1];
}

/// The hash that an identifier means.
fn hash_of(identifier: &[u8]) -> Option<Hash> {
    match identifier {
        oid::SHA256 => Some(Hash::Sha256),
        oid::SHA384 => Some(Hash::Sha384),
        oid::SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// The identifier of a hash.
fn identifier_of(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha256 => oid::SHA256,
        Hash::Sha384 => oid::SHA384,
        Hash::Sha512 => oid::SHA512,
    }
}

/// AlgorithmIdentifier of a hash, with the parameters that everybody writes.
fn algorithm_of(hash: Hash) -> Vec<u8> {
    use crate::der::write;
    let identifier = write(Tag::OID, &[identifier_of(hash)]);
    write(Tag::SEQUENCE, &[&identifier, &write(Tag::NULL, &[])])
}

#[cfg(test)]
mod tests;
