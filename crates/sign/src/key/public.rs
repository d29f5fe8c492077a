//! A public key, and whether a signature is of it.

use std::fmt;

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::der::{Reader, Tag};

use super::{Hash, KeyKind, PemError, RSA_BITS_MAX, RSA_BITS_MIN, Scheme, blocks};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key that is strong enough.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// The bits of the key, without its algorithm.
    bits: Vec<u8>,
    /// The whole structure (RFC 5280, SubjectPublicKeyInfo).
    der: Vec<u8>,
}

/// Why something is not a public key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// No key in it.
    #[error("there is no `PUBLIC KEY` in it")]
    Missing,
    /// The wrong half.
    #[error("it is a private key; a signature is checked with the public one")]
    Private,
    /// More than one.
    #[error("there is more than one key in it")]
    Several,
    /// Not a key.
    #[error("it is not a valid public key")]
    Malformed,
    /// Too short, or too long.
    #[error("RSA with {0} bits is not accepted: {RSA_BITS_MIN} to {RSA_BITS_MAX} are")]
    Length(u32),
    /// Another algorithm or curve.
    #[error("keys of the algorithm {0} are not known")]
    Algorithm(String),
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The key cannot have made such a signature.
    #[error("a key that is {0} makes no such signatures")]
    Unsuitable(KeyKind),
    /// The signature is of another key, or of other bytes.
    #[error("the signature does not fit the key and the signed bytes")]
    Mismatch,
}

impl PublicKey {
    /// Reads the one key of a PEM text: `PUBLIC KEY` or `RSA PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// When there is no such key, or one that is too weak.
    pub fn read(pem: &[u8]) -> Result<Self, PublicKeyError> {
        let mut found = None;
        for block in blocks(pem)? {
            let key = match block.label.as_str() {
                "PUBLIC KEY" => Self::from_der(&block.content)?,
                "RSA PUBLIC KEY" => Self::of_rsa(&block.content)?,
                label if label.ends_with("PRIVATE KEY") => return Err(PublicKeyError::Private),
                _ => continue,
            };
            if found.replace(key).is_some() {
                return Err(PublicKeyError::Several);
            }
        }
        found.ok_or(PublicKeyError::Missing)
    }

    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let info =
            SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| PublicKeyError::Malformed)?;
        Self::from_info(&info)
    }

    /// The key of a certificate.
    pub(crate) fn from_info(info: &SubjectPublicKeyInfoOwned) -> Result<Self, PublicKeyError> {
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or(PublicKeyError::Malformed)?;
        let algorithm = info.algorithm.oid;
        let kind = if algorithm == RSA {
            KeyKind::Rsa(rsa_bits(bits)?)
        } else if algorithm == EC {
            let parameters = info.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match curve.ok_or(PublicKeyError::Malformed)? {
                P256 => KeyKind::P256,
                P384 => KeyKind::P384,
                P521 => KeyKind::P521,
                other => return Err(PublicKeyError::Algorithm(other.to_string())),
            }
        } else if algorithm == ED25519 {
            KeyKind::Ed25519
        } else {
            return Err(PublicKeyError::Algorithm(algorithm.to_string()));
        };
        let key = Self {
            kind,
            bits: bits.to_vec(),
            der: info.to_der().map_err(|_| PublicKeyError::Malformed)?,
        };
        // A point that is not on the curve is found here and not when a signature is checked.
        match key.parsed() {
            Ok(_) => Ok(key),
            Err(()) => Err(PublicKeyError::Malformed),
        }
    }

    /// A key in the form of PKCS #1.
    fn of_rsa(der: &[u8]) -> Result<Self, PublicKeyError> {
        use x509_cert::der::asn1::{Any, BitString, Null};
        let malformed = |_| PublicKeyError::Malformed;
        let info = SubjectPublicKeyInfoOwned {
            algorithm: x509_cert::spki::AlgorithmIdentifierOwned {
                oid: RSA,
                parameters: Some(Any::encode_from(&Null).map_err(malformed)?),
            },
            subject_public_key: BitString::from_bytes(der).map_err(malformed)?,
        };
        Self::from_info(&info)
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The whole structure, DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the structure in hexadecimal digits: how messages name it.
    pub fn fingerprint(&self) -> String {
        oci::Digest::of(&self.der).hex().to_owned()
    }

    /// Whether both are the same key, however they are written.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.bits == other.bits
    }

    fn parsed(&self) -> Result<ParsedPublicKey, ()> {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            KeyKind::Rsa(_) => &signature::RSA_PKCS1_2048_8192_SHA256,
            KeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::P384 => &signature::ECDSA_P384_SHA384_ASN1,
            KeyKind::P521 => &signature::ECDSA_P521_SHA512_ASN1,
            KeyKind::Ed25519 => &signature::ED25519,
        };
        ParsedPublicKey::new(algorithm, &self.bits).map_err(|_| ())
    }

    /// Checks a signature.
    ///
    /// # Errors
    ///
    /// When it is not a signature of these bytes by this key.
    pub fn verify(&self, scheme: Scheme, message: &[u8], bytes: &[u8]) -> Result<(), VerifyError> {
        let unsuitable = Err(VerifyError::Unsuitable(self.kind));
        let algorithm: &'static dyn VerificationAlgorithm = match scheme {
            Scheme::Notary => match (self.kind, self.kind.notary_hash()) {
                (KeyKind::Rsa(_), Some(hash)) => pss(hash),
                (KeyKind::P256, _) => &signature::ECDSA_P256_SHA256_FIXED,
                (KeyKind::P384, _) => &signature::ECDSA_P384_SHA384_FIXED,
                (KeyKind::P521, _) => &signature::ECDSA_P521_SHA512_FIXED,
                (KeyKind::Rsa(_), None) | (KeyKind::Ed25519, _) => return unsuitable,
            },
            Scheme::Cosign => match self.kind {
                KeyKind::Rsa(_) => &signature::RSA_PKCS1_2048_8192_SHA256,
                KeyKind::P256 => &signature::ECDSA_P256_SHA256_ASN1,
                KeyKind::Ed25519 => &signature::ED25519,
                KeyKind::P384 | KeyKind::P521 => return unsuitable,
            },
        };
        UnparsedPublicKey::new(algorithm, &self.bits)
            .verify(message, bytes)
            .map_err(|_| VerifyError::Mismatch)
    }
}

fn pss(hash: Hash) -> &'static RsaParameters {
    match hash {
        Hash::Sha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}

/// The length of the modulus of an RSAPublicKey (RFC 8017 A.1.1), in bits.
fn rsa_bits(der: &[u8]) -> Result<u32, PublicKeyError> {
    let malformed = |_| PublicKeyError::Malformed;
    let mut outer = Reader::new(der);
    let mut fields = outer.read(Tag::SEQUENCE).map_err(malformed)?.reader();
    let modulus = fields.read(Tag::INTEGER).map_err(malformed)?;
    let length = modulus.bits().ok_or(PublicKeyError::Malformed)?;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&length) {
        return Err(PublicKeyError::Length(length));
    }
    Ok(length)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.kind, self.fingerprint())
    }
}
