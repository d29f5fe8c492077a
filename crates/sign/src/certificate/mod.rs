//! Certificates: read, asked, and put in a row.

mod chain;
mod identity;

use jiff::Timestamp;
use x509_cert::certificate::CertificateInner;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

pub(crate) use chain::{CHAIN_MAX, check_purpose};
pub use chain::{Chain, ChainError, Purpose, Rule};
pub use identity::{Identity, IdentityError};

use crate::der::{Malformed, Reader, Tag};
use crate::key::{PemError, PublicKey, PublicKeyError, blocks};

/// A certificate (RFC 5280) and the bytes it was read from.
#[derive(Clone)]
pub struct Certificate {
    bytes: Vec<u8>,
    parsed: CertificateInner,
    /// How many bytes are signed, and by what.
    signed: Signed,
}

#[derive(Clone)]
struct Signed {
    message: Vec<u8>,
    /// The algorithm, without its outer tag.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// None in it.
    #[error("there is no certificate in it")]
    Missing,
    /// One that cannot be read.
    #[error("certificate {0} of it cannot be read")]
    Malformed(usize),
}

impl Certificate {
    /// Reads the certificates of a file in its order: PEM, or one in DER.
    ///
    /// # Errors
    ///
    /// When there is none, or one cannot be read.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, CertificateError> {
        if bytes.first() == Some(&0x30) {
            return match Self::from_der(bytes) {
                Ok(certificate) => Ok(vec![certificate]),
                Err(Malformed) => Err(CertificateError::Malformed(1)),
            };
        }
        let mut certificates = Vec::new();
        for block in blocks(bytes)? {
            if matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE") {
                let number = certificates.len() + 1;
                let certificate = Self::from_der(&block.content);
                certificates.push(certificate.map_err(|_| CertificateError::Malformed(number))?);
            }
        }
        if certificates.is_empty() {
            return Err(CertificateError::Missing);
        }
        Ok(certificates)
    }

    /// Reads one certificate.
    pub(crate) fn from_der(bytes: &[u8]) -> Result<Self, Malformed> {
        let parsed = CertificateInner::from_der(bytes).map_err(|_| Malformed)?;
        let mut outer = Reader::new(bytes);
        let mut fields = outer.read(Tag::SEQUENCE)?.reader();
        let message = fields.read(Tag::SEQUENCE)?;
        let algorithm = fields.read(Tag::SEQUENCE)?;
        let signature = fields.read(Tag::BIT_STRING)?;
        let [0, signature @ ..] = signature.content else {
            return Err(Malformed);
        };
        let signed = Signed {
            message: message.whole.to_vec(),
            algorithm: algorithm.content.to_vec(),
            signature: signature.to_vec(),
        };
        Ok(Self {
            bytes: bytes.to_vec(),
            parsed,
            signed,
        })
    }

    /// The bytes.
    pub fn as_der(&self) -> &[u8] {
        &self.bytes
    }

    /// Whom it is about, as RFC 4514 writes it.
    pub fn subject(&self) -> String {
        self.tbs().subject().to_string()
    }

    /// Its key.
    ///
    /// # Errors
    ///
    /// When the key is too weak or of an unknown kind.
    pub fn public_key(&self) -> Result<PublicKey, PublicKeyError> {
        PublicKey::from_info(self.tbs().subject_public_key_info())
    }

    /// SHA-256 of the bytes, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        oci::Digest::of(&self.bytes).hex().to_owned()
    }

    /// From when to when it holds, both included.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = self.tbs().validity();
        let at = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        (at(validity.not_before), at(validity.not_after))
    }

    /// Where it says that its revocation can be looked up, if it does: kiln does not do that.
    pub fn names_revocation_lists(&self) -> bool {
        const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
        const AUTHORITY_INFORMATION: &str = "1.3.6.1.5.5.7.1.1";
        let extensions = self.tbs().extensions();
        extensions.is_some_and(|extensions| {
            extensions.iter().any(|extension| {
                let id = extension.extn_id.to_string();
                id == CRL_DISTRIBUTION_POINTS || id == AUTHORITY_INFORMATION
            })
        })
    }

    pub(crate) fn tbs(&self) -> &x509_cert::certificate::TbsCertificateInner {
        self.parsed.tbs_certificate()
    }

    pub(crate) fn key_usage(&self) -> Result<Option<(bool, KeyUsage)>, Malformed> {
        self.tbs().get_extension().map_err(|_| Malformed)
    }

    pub(crate) fn constraints(&self) -> Result<Option<(bool, BasicConstraints)>, Malformed> {
        self.tbs().get_extension().map_err(|_| Malformed)
    }

    pub(crate) fn extended_usage(&self) -> Result<Option<(bool, ExtendedKeyUsage)>, Malformed> {
        self.tbs().get_extension().map_err(|_| Malformed)
    }

    /// Whether it has an extension that must be understood and is not: a constraint of names is one.
    pub(crate) fn has_unknown_critical(&self) -> bool {
        // Constraints, usage, extended usage, policies (which ask nothing of who wants none), and
        // other names of the subject.
        const KNOWN: [&str; 5] = [
            "2.5.29.19",
            "2.5.29.15",
            "2.5.29.37",
            "2.5.29.32",
            "2.5.29.17",
        ];
        let extensions = self.tbs().extensions();
        extensions.is_some_and(|extensions| {
            extensions.iter().any(|extension| {
                extension.critical && !KNOWN.contains(&extension.extn_id.to_string().as_str())
            })
        })
    }

    /// Whether the key of `issuer` signed it, with an algorithm that is still believed.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        self.tbs().issuer() == issuer.tbs().subject()
            && fits(
                issuer,
                &self.signed.algorithm,
                &self.signed.message,
                &self.signed.signature,
            )
    }
}

/// Whether a signature in the manner of X.509 is of the key of a certificate. `algorithm` is an
/// AlgorithmIdentifier without its outer tag. SHA-1 and short keys are in no algorithm of the list.
pub(crate) fn fits(
    signer: &Certificate,
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    use x509_cert::der::Encode as _;
    let info = signer.tbs().subject_public_key_info();
    let Ok(key_algorithm) = info.algorithm.to_der() else {
        return false;
    };
    let Ok(key_algorithm) = Reader::new(&key_algorithm).read(Tag::SEQUENCE) else {
        return false;
    };
    let Some(key) = info.subject_public_key.as_bytes() else {
        return false;
    };
    webpki::ALL_VERIFICATION_ALGS.iter().any(|known| {
        known.public_key_alg_id().as_ref() == key_algorithm.content
            && known.signature_alg_id().as_ref() == algorithm
            && known.verify_signature(key, message, signature).is_ok()
    })
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.subject())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Certificate {}
