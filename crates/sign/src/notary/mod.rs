//! Signatures of the Notary Project (specifications 1.1): an envelope, JWS or COSE, around a
//! descriptor, with the chain of the signer's certificates beside it.

mod cose;
mod jws;
mod sign;
mod trust;
mod trust_policy;
mod verify;

use jiff::Timestamp;
use oci::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};

pub use sign::{Draft, NotarySigner, SignerError};
pub use trust::{Check, Checks, Identities, Stamps, Trust};
pub use trust_policy::{TrustPolicyError, read_trust_policy};
pub use verify::{NotaryRefusal, Verified, envelope_of, verify_notary};

use crate::key::KeyKind;

/// The kind of artefact that a signature is, and the type of its configuration.
pub const NOTARY_ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
/// The annotation that names the certificates (signature specification, "Storage").
pub const THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";
/// The most bytes of an envelope that is read: a chain of ten certificates and a timestamp fit
/// twenty times.
pub const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;

/// The type of what is signed.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const TIMESTAMP: &str = "io.cncf.notary.timestampSignature";
const AGENT: &str = "io.cncf.notary.signingAgent";
/// How kiln calls itself in signatures.
const OUR_AGENT: &str = concat!("kiln/", env!("CARGO_PKG_VERSION"));

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    /// JSON (RFC 7515, flattened).
    #[default]
    Jws,
    /// CBOR (RFC 9052, COSE_Sign1).
    Cose,
}

impl Envelope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Jws, Self::Cose];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::Cose => "cose",
        }
    }

    /// The type of the blob.
    pub fn media_type(self) -> MediaType {
        MediaType::from(match self {
            Self::Jws => "application/jose+json",
            Self::Cose => "application/cose",
        })
    }
}

/// Who vouches for the time of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigningScheme {
    /// Nobody, or a timestamp.
    X509,
    /// Whoever signed.
    SigningAuthority,
}

impl SigningScheme {
    fn name(self) -> &'static str {
        match self {
            Self::X509 => "notary.x509",
            Self::SigningAuthority => "notary.x509.signingAuthority",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::X509, Self::SigningAuthority]
            .into_iter()
            .find(|scheme| scheme.name() == name)
    }
}

/// What an envelope says, whichever kind it is. Nothing of it is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The bytes that the signature is about.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// The key that the algorithm is for.
    pub(crate) key: KeyKind,
    pub(crate) claims: Claims,
    /// DER, the signer's first.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// A token (RFC 3161).
    pub(crate) timestamp: Option<Vec<u8>>,
}

/// What the protected header says beside the algorithm and the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) scheme: SigningScheme,
    pub(crate) signed_at: Timestamp,
    pub(crate) expires: Option<Timestamp>,
}

/// Why an envelope is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More bytes than a signature can have.
    #[error("it is larger than {ENVELOPE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON or CBOR of the form.
    #[error("it is not of the form of a {0} envelope")]
    Form(&'static str),
    /// Something that must be there once is missing, of another type, or there twice.
    #[error("its header `{0}` is missing, not of the right form, or there more than once")]
    Header(&'static str),
    /// An algorithm that the Notary Project does not have; `none` is one.
    #[error("its algorithm `{0}` is not one of the Notary Project's")]
    Algorithm(String),
    /// Something else than a descriptor is signed.
    #[error("what is signed is of the type `{0}`, not `{PAYLOAD_TYPE}`")]
    PayloadType(String),
    /// A header that must be understood and is not.
    #[error("it must not be accepted by who does not understand `{0}`, which kiln does not")]
    Critical(String),
    /// A header that must be marked as critical.
    #[error("its header `{0}` is not marked as critical")]
    NotCritical(&'static str),
    /// A way of signing that is not known.
    #[error("its signing scheme `{0}` is not known")]
    Scheme(String),
    /// No certificates.
    #[error("it has no certificates")]
    NoCertificates,
}

/// The document that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Payload {
    pub(crate) target_artifact: Descriptor,
}

/// The claims of a signature, from what both kinds of envelopes say in their own way.
struct RawClaims {
    scheme: String,
    signing_time: Option<Timestamp>,
    authentic_signing_time: Option<Timestamp>,
    expires: Option<Timestamp>,
    /// Names that must be understood.
    critical: Vec<String>,
}

impl RawClaims {
    /// Checks what the specification says of claims, and of which must be critical.
    fn check(self) -> Result<Claims, EnvelopeError> {
        let scheme = SigningScheme::of_name(&self.scheme);
        let scheme = scheme.ok_or_else(|| EnvelopeError::Scheme(printable(&self.scheme)))?;
        let mut known = vec![SCHEME];
        let signed_at = match (scheme, self.signing_time, self.authentic_signing_time) {
            (SigningScheme::X509, Some(at), None) => at,
            (SigningScheme::X509, _, Some(_)) => {
                return Err(EnvelopeError::Header(AUTHENTIC_SIGNING_TIME));
            }
            (SigningScheme::X509, None, None) => return Err(EnvelopeError::Header(SIGNING_TIME)),
            (SigningScheme::SigningAuthority, None, Some(at)) => {
                known.push(AUTHENTIC_SIGNING_TIME);
                at
            }
            (SigningScheme::SigningAuthority, Some(_), _) => {
                return Err(EnvelopeError::Header(SIGNING_TIME));
            }
            (SigningScheme::SigningAuthority, None, None) => {
                return Err(EnvelopeError::Header(AUTHENTIC_SIGNING_TIME));
            }
        };
        if self.expires.is_some() {
            known.push(EXPIRY);
        }
        for (index, name) in self.critical.iter().enumerate() {
            if self.critical[..index].contains(name) {
                return Err(EnvelopeError::Header("crit"));
            }
            if !known.contains(&name.as_str()) {
                return Err(EnvelopeError::Critical(printable(name)));
            }
        }
        for name in known {
            if !self.critical.iter().any(|critical| critical == name) {
                return Err(EnvelopeError::NotCritical(name));
            }
        }
        Ok(Claims {
            scheme,
            signed_at,
            expires: self.expires,
        })
    }
}

/// A name from outside, fit for a message.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .take(100)
        .collect()
}

/// The algorithms: what a key is, its name in JWS, its number in COSE.
const ALGORITHMS: [(KeyKind, &str, coset::iana::Algorithm); 6] = {
    use coset::iana::Algorithm::{ES256, ES384, ES512, PS256, PS384, PS512};
    [
        (KeyKind::Rsa(2048), "PS256", PS256),
        (KeyKind::Rsa(3072), "PS384", PS384),
        (KeyKind::Rsa(4096), "PS512", PS512),
        (KeyKind::P256, "ES256", ES256),
        (KeyKind::P384, "ES384", ES384),
        (KeyKind::P521, "ES512", ES512),
    ]
};

#[cfg(test)]
mod tests;
