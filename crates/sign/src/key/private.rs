//! A private key. Neither it nor its passphrase is ever in a message.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    RsaKeyPair,
};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use crate::der::{Reader, Tag};

use super::{
    Hash, KeyKind, PemError, PublicKey, PublicKeyError, RSA_BITS_MAX, RSA_BITS_MIN, Scheme, blocks,
    cosign,
};

/// What opens an encrypted key. Wiped when it is dropped, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// A private key that is strong enough.
pub struct PrivateKey {
    material: Material,
    public: PublicKey,
}

enum Material {
    Rsa(RsaKeyPair),
    /// Twice the same key: the library ties a key to a form of signatures.
    Ec {
        fixed: EcdsaKeyPair,
        asn1: EcdsaKeyPair,
    },
    Ed25519(Ed25519KeyPair),
}

/// Why there is no private key. Holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// No key in it.
    #[error("there is no private key in it")]
    Missing,
    /// Half a key.
    #[error("it is a public key; a signature is made with the private one")]
    Public,
    /// More than one.
    #[error("there is more than one private key in it")]
    Several,
    /// It is encrypted, and nothing opens it.
    #[error("it is encrypted, and there is no passphrase for it")]
    PassphraseMissing,
    /// The passphrase is another, or the file is damaged.
    #[error("the passphrase does not open it")]
    PassphraseWrong,
    /// Encrypted in the way before PKCS #8.
    #[error(
        "it is encrypted in the old way of OpenSSL, which is weak; \
         `openssl pkcs8 -topk8 -in KEY -out NEW` makes it one that can be read"
    )]
    Traditional,
    /// Encrypted in a way that is not known.
    #[error("it is encrypted in a way that is not known: {0}")]
    Encryption(String),
    /// A key of OpenSSH.
    #[error(
        "it is a key of OpenSSH; `ssh-keygen -p -m PKCS8 -f COPY` makes a copy one that can be read"
    )]
    OpenSsh,
    /// Not a key.
    #[error("it is not a valid private key")]
    Malformed,
    /// Too weak, too long, or of another algorithm.
    #[error(transparent)]
    Unsuitable(#[from] PublicKeyError),
    /// The library would not sign.
    #[error("no signature could be made with a key that is {0}")]
    Signing(KeyKind),
    /// The key is not one for this kind of signatures.
    #[error("such signatures take {wanted}, and the key is {found}")]
    Scheme {
        /// Which keys would do.
        wanted: &'static str,
        /// What it is.
        found: KeyKind,
    },
}

impl Passphrase {
    /// Wraps what was read.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What was read from a file: without the end of its line.
    pub fn from_file(bytes: Vec<u8>) -> Self {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, …)", self.kind())
    }
}

impl PrivateKey {
    /// Reads the one key of a PEM text: PKCS #8, encrypted or not, PKCS #1, SEC 1, or a key that
    /// cosign made. Parameters, certificates and public keys beside it are skipped.
    ///
    /// # Errors
    ///
    /// When there is no such key, it does not open, or it is too weak.
    pub fn read(pem: &[u8], passphrase: Option<&Passphrase>) -> Result<Self, KeyError> {
        let mut found = None;
        let mut public = false;
        for block in blocks(pem)? {
            let content = &block.content;
            if block.encrypted_traditionally {
                return Err(KeyError::Traditional);
            }
            let key = match block.label.as_str() {
                "PRIVATE KEY" => Self::from_pkcs8(content)?,
                "ENCRYPTED PRIVATE KEY" => {
                    let passphrase = passphrase.ok_or(KeyError::PassphraseMissing)?;
                    Self::from_pkcs8(&decrypt(content, passphrase)?)?
                }
                "RSA PRIVATE KEY" => {
                    Self::of_rsa(RsaKeyPair::from_der(content), || rsa_bits_of_pkcs1(content))?
                }
                "EC PRIVATE KEY" => Self::from_sec1(content)?,
                "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                    let passphrase = passphrase.ok_or(KeyError::PassphraseMissing)?;
                    Self::from_pkcs8(&cosign::decrypt(content, passphrase)?)?
                }
                "OPENSSH PRIVATE KEY" => return Err(KeyError::OpenSsh),
                "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                    public = true;
                    continue;
                }
                _ => continue,
            };
            if found.replace(key).is_some() {
                return Err(KeyError::Several);
            }
        }
        found.ok_or(if public {
            KeyError::Public
        } else {
            KeyError::Missing
        })
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = pkcs8::PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed)?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" => Self::of_rsa(RsaKeyPair::from_pkcs8(der), || {
                rsa_bits_of_pkcs1(info.private_key.as_bytes())
            }),
            "1.2.840.10045.2.1" => {
                let curve = info.algorithm.parameters_oid();
                let curve = curve.map_err(|_| KeyError::Malformed)?;
                let (fixed, asn1) = ec_algorithms(curve)?;
                let pair = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der);
                Self::of_ec(pair(fixed), pair(asn1))
            }
            "1.3.101.112" => {
                // The public half may be missing, and is then made.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                let pair = pair.map_err(|_| KeyError::Malformed)?;
                let public = public(AsPublic::Ed25519(&pair))?;
                Ok(Self {
                    material: Material::Ed25519(pair),
                    public,
                })
            }
            other => Err(PublicKeyError::Algorithm(other.to_owned()).into()),
        }
    }

    /// RFC 5915. The curve may be missing there; a key fits one only.
    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        for curve in [P256, P384, P521] {
            let (fixed, asn1) = ec_algorithms(curve)?;
            let pair = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der);
            if let Ok(key) = Self::of_ec(pair(fixed), pair(asn1)) {
                return Ok(key);
            }
        }
        Err(KeyError::Malformed)
    }

    fn of_ec<E>(
        fixed: Result<EcdsaKeyPair, E>,
        asn1: Result<EcdsaKeyPair, E>,
    ) -> Result<Self, KeyError> {
        let (Ok(fixed), Ok(asn1)) = (fixed, asn1) else {
            return Err(KeyError::Malformed);
        };
        let public = public(AsPublic::Ec(&fixed))?;
        Ok(Self {
            material: Material::Ec { fixed, asn1 },
            public,
        })
    }

    /// `bits` says how long a key is that the library would not read.
    fn of_rsa<E>(
        pair: Result<RsaKeyPair, E>,
        bits: impl FnOnce() -> Option<u32>,
    ) -> Result<Self, KeyError> {
        let Ok(pair) = pair else {
            return Err(match bits() {
                Some(bits) if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) => {
                    PublicKeyError::Length(bits).into()
                }
                _ => KeyError::Malformed,
            });
        };
        let public = public(AsPublic::Rsa(&pair))?;
        Ok(Self {
            material: Material::Rsa(pair),
            public,
        })
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.public.kind()
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Says whether it can make signatures of a kind.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn suits(&self, scheme: Scheme) -> Result<(), KeyError> {
        if self.kind().suits(scheme) {
            Ok(())
        } else {
            Err(KeyError::Scheme {
                wanted: scheme.keys(),
                found: self.kind(),
            })
        }
    }

    /// Signs some bytes.
    ///
    /// # Errors
    ///
    /// When the key is not one for this kind of signatures.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.suits(scheme)?;
        let failed = |_| KeyError::Signing(self.kind());
        let random = SystemRandom::new();
        match &self.material {
            Material::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match (scheme, self.kind().notary_hash()) {
                    (Scheme::Notary, Some(Hash::Sha256)) => &signature::RSA_PSS_SHA256,
                    (Scheme::Notary, Some(Hash::Sha384)) => &signature::RSA_PSS_SHA384,
                    (Scheme::Notary, Some(Hash::Sha512)) => &signature::RSA_PSS_SHA512,
                    (Scheme::Notary, None) | (Scheme::Cosign, _) => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Material::Ec { fixed, asn1 } => {
                let pair = match scheme {
                    Scheme::Notary => fixed,
                    Scheme::Cosign => asn1,
                };
                let signature = pair.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Material::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The algorithms of a curve: numbers side by side, and ASN.1.
fn ec_algorithms(
    curve: ObjectIdentifier,
) -> Result<
    (
        &'static EcdsaSigningAlgorithm,
        &'static EcdsaSigningAlgorithm,
    ),
    PublicKeyError,
> {
    match curve {
        P256 => Ok((
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        )),
        P384 => Ok((
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        )),
        P521 => Ok((
            &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        )),
        other => Err(PublicKeyError::Algorithm(other.to_string())),
    }
}

/// Of which key the public half is wanted.
enum AsPublic<'k> {
    Rsa(&'k RsaKeyPair),
    Ec(&'k EcdsaKeyPair),
    Ed25519(&'k Ed25519KeyPair),
}

fn public(key: AsPublic<'_>) -> Result<PublicKey, KeyError> {
    let der: Result<PublicKeyX509Der<'_>, _> = match key {
        AsPublic::Rsa(pair) => pair.public_key().as_der(),
        AsPublic::Ec(pair) => pair.public_key().as_der(),
        AsPublic::Ed25519(pair) => pair.public_key().as_der(),
    };
    let der = der.map_err(|_| KeyError::Malformed)?;
    Ok(PublicKey::from_der(der.as_ref())?)
}

/// Opens PKCS #8 (RFC 5958, EncryptedPrivateKeyInfo).
fn decrypt(der: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|error| {
        // What can be read of the structure may be a scheme that the library does not know.
        match error {
            pkcs8::Error::Asn1(_) => KeyError::Malformed,
            other => KeyError::Encryption(other.to_string()),
        }
    })?;
    let opened = info.decrypt(passphrase.expose());
    let opened = opened.map_err(|_| KeyError::PassphraseWrong)?;
    Ok(Zeroizing::new(opened.as_bytes().to_vec()))
}

/// The length of the modulus of an RSAPrivateKey (RFC 8017 A.1.2), so that a key that is too short
/// can be called that.
fn rsa_bits_of_pkcs1(der: &[u8]) -> Option<u32> {
    let mut outer = Reader::new(der);
    let mut fields = outer.read(Tag::SEQUENCE).ok()?.reader();
    fields.read(Tag::INTEGER).ok()?;
    fields.read(Tag::INTEGER).ok()?.bits()
}
