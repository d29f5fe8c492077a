//! Making a signature.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci::{
    AttachedBlob, Attachment, AttachmentPlace, Descriptor, Digest, EMPTY_CONFIG, Manifest,
    MediaType, Raw,
};

use super::{
    Claims, Envelope, NOTARY_ARTIFACT_TYPE, Payload, SigningScheme, THUMBPRINTS, cose, jws,
};
use crate::certificate::{Certificate, Chain, ChainError, Purpose};
use crate::key::{Hash, KeyError, PrivateKey, Scheme};

/// A key with its certificates.
#[derive(Debug)]
pub struct NotarySigner {
    key: PrivateKey,
    hash: Hash,
    chain: Chain,
    envelope: Envelope,
}

/// Why nobody can sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The key is not one for such signatures.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificates are no chain.
    #[error("the certificates cannot be used")]
    Chain(#[source] ChainError),
    /// Key and certificate are not of each other.
    #[error("the key is not the one that the first certificate, of `{subject}`, is about")]
    Mismatch {
        /// Whose certificate.
        subject: String,
    },
    /// A certificate does not hold now.
    #[error("the certificate of `{subject}` holds from {from} until {until}, not at {at}")]
    NotValid {
        /// Whose.
        subject: String,
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// When it was to be used.
        at: Timestamp,
    },
    /// The signature would be over before it began.
    #[error("the signature would expire at {0}, which is past")]
    Expired(Timestamp),
}

/// A signature that may still get a timestamp.
pub struct Draft<'s> {
    signer: &'s NotarySigner,
    subject: Descriptor,
    at: Timestamp,
    body: Body,
    signature: Vec<u8>,
}

enum Body {
    Jws(jws::Unsigned),
    Cose(Box<cose::Unsigned>),
}

impl NotarySigner {
    /// Puts a key and its certificates together: the signer's first, the root last.
    ///
    /// # Errors
    ///
    /// When they do not belong together, or are not what the Notary Project wants.
    pub fn new(
        key: PrivateKey,
        certificates: Vec<Certificate>,
        envelope: Envelope,
    ) -> Result<Self, SignerError> {
        key.suits(Scheme::Notary)?;
        let hash = key.kind().notary_hash().ok_or(KeyError::Malformed)?;
        // That the key is another is the likeliest mistake, and said before all others.
        if let Some(leaf) = certificates.first()
            && leaf
                .public_key()
                .is_ok_and(|public| !public.same_as(key.public()))
        {
            return Err(SignerError::Mismatch {
                subject: leaf.subject(),
            });
        }
        let chain = Chain::new(certificates, Purpose::CodeSigning).map_err(SignerError::Chain)?;
        Ok(Self {
            key,
            hash,
            chain,
            envelope,
        })
    }

    /// The certificates.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Signs what a descriptor names.
    ///
    /// # Errors
    ///
    /// When a certificate does not hold at that time.
    pub fn draft(
        &self,
        subject: &Descriptor,
        at: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<Draft<'_>, SignerError> {
        // Seconds are all that envelopes have.
        let at = whole_seconds(at);
        let expires = expires.map(whole_seconds);
        if let Some(expires) = expires
            && expires <= at
        {
            return Err(SignerError::Expired(expires));
        }
        if let Some(certificate) = self.chain.invalid_within(at, at) {
            let (from, until) = certificate.validity();
            return Err(SignerError::NotValid {
                subject: certificate.subject(),
                from,
                until,
                at,
            });
        }
        let subject = Descriptor::new(
            subject.media_type.clone(),
            subject.digest.clone(),
            subject.size,
        );
        let payload = Payload {
            target_artifact: subject.clone(),
        };
        let payload = serde_json::to_vec(&payload).map_err(|_| self.failed())?;
        let claims = Claims {
            scheme: SigningScheme::X509,
            signed_at: at,
            expires,
        };
        let kind = self.key.kind();
        let body = match self.envelope {
            Envelope::Jws => jws::Unsigned::new(kind, &payload, &claims).map(Body::Jws),
            Envelope::Cose => {
                let unsigned = cose::Unsigned::new(kind, &payload, &claims);
                unsigned.map(Box::new).map(Body::Cose)
            }
        };
        let body = body.ok_or_else(|| self.failed())?;
        let message = match &body {
            Body::Jws(unsigned) => unsigned.message(),
            Body::Cose(unsigned) => unsigned.message(),
        };
        Ok(Draft {
            signer: self,
            subject,
            at,
            body,
            signature: self.key.sign(Scheme::Notary, &message)?,
        })
    }

    fn failed(&self) -> SignerError {
        SignerError::Key(KeyError::Signing(self.key.kind()))
    }
}

impl Draft<'_> {
    /// What a timestamp authority is to be asked about: the hash of the signature, with the hash
    /// that goes with the key.
    pub(crate) fn imprint(&self) -> (Hash, Vec<u8>) {
        let hash = self.signer.hash;
        (hash, hash.of(&self.signature))
    }

    /// The signature itself.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Puts everything together, as it is stored beside the subject.
    ///
    /// # Errors
    ///
    /// Never in practice: when the envelope cannot be written.
    pub fn finish(self, timestamp: Option<&[u8]>) -> Result<Attachment, SignerError> {
        let signer = self.signer;
        let envelope = match self.body {
            Body::Jws(unsigned) => unsigned.finish(&signer.chain, &self.signature, timestamp),
            Body::Cose(unsigned) => unsigned.finish(&signer.chain, &self.signature, timestamp),
        };
        let envelope = envelope.ok_or_else(|| signer.failed())?;
        Ok(attachment(
            signer.envelope,
            envelope,
            &signer.chain,
            self.subject,
            self.at,
        ))
    }
}

/// A signature manifest in the form that every implementation reads: the configuration's type says
/// what it is, and so does `artifactType`.
fn attachment(
    envelope: Envelope,
    bytes: Vec<u8>,
    chain: &Chain,
    subject: Descriptor,
    at: Timestamp,
) -> Attachment {
    let config = Descriptor::new(
        MediaType::from(NOTARY_ARTIFACT_TYPE),
        Digest::of(EMPTY_CONFIG),
        EMPTY_CONFIG.len() as u64,
    );
    let layer = Descriptor::new(
        envelope.media_type(),
        Digest::of(&bytes),
        bytes.len() as u64,
    );
    let thumbprints: Vec<String> = chain
        .certificates()
        .iter()
        .map(Certificate::fingerprint)
        .collect();
    let annotations = BTreeMap::from([
        (
            THUMBPRINTS.to_owned(),
            // A list of strings of digits.
            format!("[\"{}\"]", thumbprints.join("\",\"")),
        ),
        (
            "org.opencontainers.image.created".to_owned(),
            at.to_string(),
        ),
    ]);
    let blobs = vec![
        AttachedBlob {
            digest: config.digest.clone(),
            bytes: EMPTY_CONFIG.to_vec(),
        },
        AttachedBlob {
            digest: layer.digest.clone(),
            bytes,
        },
    ];
    let manifest = Raw::write(Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: Some(NOTARY_ARTIFACT_TYPE.to_owned()),
        config,
        layers: vec![layer],
        subject: Some(subject),
        annotations,
    });
    Attachment {
        manifest,
        blobs,
        place: AttachmentPlace::Referrer,
    }
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
