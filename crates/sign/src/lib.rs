//! The seal: signatures, provenance and SBOMs as documents about a digest.
//!
//! It is given descriptors and bytes and makes [`oci::Attachment`]s, or checks them. It never
//! pushes, never resolves a tag, and has never heard of builds. The one service that it speaks to is
//! a signer's or a timestamp authority's.

mod certificate;
mod cosign;
mod der;
mod key;
mod notary;
pub mod packages;
pub mod provenance;
pub mod purl;
pub mod sbom;
mod signify;
pub mod statement;
mod timestamp;

pub use certificate::{
    Certificate, CertificateError, Chain, ChainError, Identity, IdentityError, Purpose, Rule,
};
pub use cosign::{
    COSIGN_SIGNATURES_MAX, CosignRefusal, CosignSigner, CosignVerified, SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_BYTES_MAX, SIMPLE_SIGNING_TYPE, signature_tag, verify_cosign,
};
pub use key::{
    KeyError, KeyKind, PEM_BYTES_MAX, Passphrase, PemError, PrivateKey, PublicKey, PublicKeyError,
    RSA_BITS_MAX, RSA_BITS_MIN, Scheme, VerifyError,
};
pub use notary::{
    Check, Checks, Draft, ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, Identities,
    NOTARY_ARTIFACT_TYPE, NotaryRefusal, NotarySigner, SignerError, Stamps, THUMBPRINTS, Trust,
    TrustPolicyError, Verified, envelope_of, read_trust_policy, verify_notary,
};
pub use signify::{
    Signify, SignifyCredentials, SignifyCredentialsError, SignifyError, SignifyTiming,
};
pub use timestamp::{TimestampAuthority, TimestampError, TokenError};

/// The most letters that are repeated of what somebody else said.
const SAID_MAX: usize = 300;

/// What a service said, fit for a message: one line, no control characters, not long.
fn said(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let letters = words.chars().filter(|letter| !letter.is_control());
    letters.take(SAID_MAX).collect()
}

/// What was given for an address, without what may be secret in it, whether it is one or not.
fn shown_text(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(address) if address.has_host() => shown(&address),
        _ => {
            let (_, behind) = text.rsplit_once('@').unwrap_or(("", text));
            let end = behind.find(['?', '#']).unwrap_or(behind.len());
            said(&behind[..end])
        }
    }
}

/// An address without the account, the query and the fragment that may be secret in it.
fn shown(address: &reqwest::Url) -> String {
    let host = address.host_str().unwrap_or("");
    let port = address.port().map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    format!("{}://{host}{port}{}", address.scheme(), address.path())
}
