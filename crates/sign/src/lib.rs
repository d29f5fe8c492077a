//! The seal: signatures, provenance and SBOMs as documents about a digest.
//!
//! It is given descriptors and bytes and makes [`oci::Attachment`]s, or checks them. It never
//! pushes, never resolves a tag, and has never heard of builds. The one service that it speaks to is
//! a signer's or a timestamp authority's.

mod der;
mod key;
pub mod packages;
pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod statement;

pub use key::{
    KeyError, KeyKind, PEM_BYTES_MAX, Passphrase, PemError, PrivateKey, PublicKey, PublicKeyError,
    RSA_BITS_MAX, RSA_BITS_MIN, Scheme, VerifyError,
};
