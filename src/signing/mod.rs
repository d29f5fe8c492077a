//! Who signs: keys, certificates and services as flags, `kiln.yaml` and the environment give them,
//! ready to seal what is published.

mod material;
mod options;
mod trial;

use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use oci::Repository;
use publish::{Seal, SealError, Sealed, Subject};
use sign::{Certificate, CosignSigner, Envelope, NotarySigner, Signify, TimestampAuthority};

pub(crate) use material::{Source, certificates, public_keys};
pub(crate) use options::{SignerOptions, Signers};

/// A signer, whatever it makes.
pub(crate) struct Signer {
    /// How messages call it.
    name: String,
    /// What tells it from others of its name.
    identity: String,
    maker: Maker,
}

/// What signers make.
enum Maker {
    /// Notary Project signatures.
    Notation {
        signer: Box<NotarySigner>,
        authority: Option<Box<TimestampAuthority>>,
        /// How long a signature counts.
        lasts: Option<SignedDuration>,
    },
    /// Cosign signatures.
    Cosign(Box<CosignSigner>),
    /// Whatever a service makes of it.
    Signify(Box<Signify>),
}

impl Signer {
    fn notation(
        name: String,
        key: sign::PrivateKey,
        chain: Vec<Certificate>,
        envelope: Envelope,
        authority: Option<TimestampAuthority>,
        lasts: Option<SignedDuration>,
    ) -> Result<Self, sign::SignerError> {
        let signer = NotarySigner::new(key, chain, envelope)?;
        let certificate = signer.chain().leaf().fingerprint();
        let stamped = if authority.is_some() { "stamped" } else { "" };
        Ok(Self {
            name,
            identity: format!("notation {} {certificate} {stamped}", envelope.name()),
            maker: Maker::Notation {
                signer: Box::new(signer),
                authority: authority.map(Box::new),
                lasts,
            },
        })
    }

    fn cosign(name: String, key: sign::PrivateKey) -> Result<Self, sign::KeyError> {
        let signer = CosignSigner::new(key)?;
        Ok(Self {
            name,
            identity: format!("cosign {}", signer.public().fingerprint()),
            maker: Maker::Cosign(Box::new(signer)),
        })
    }

    fn signify(name: String, signify: Signify) -> Self {
        Self {
            name,
            identity: format!("signify {}", signify.identity()),
            maker: Maker::Signify(Box::new(signify)),
        }
    }

    async fn make(&self, subject: &Subject) -> Result<Sealed, SealError> {
        let now = Timestamp::now();
        let attachment = match &self.maker {
            Maker::Notation {
                signer,
                authority,
                lasts,
            } => {
                let expires = lasts.map(|lasts| now.checked_add(lasts)).transpose();
                let expires = expires.map_err(|error| self.failed(error))?;
                let draft = signer.draft(&subject.descriptor, now, expires);
                let draft = draft.map_err(|error| self.failed(error))?;
                match authority {
                    Some(authority) => {
                        let stamped = authority.stamp(draft).await;
                        stamped.map_err(|error| self.failed(error))?
                    }
                    None => draft.finish(None).map_err(|error| self.failed(error))?,
                }
            }
            Maker::Cosign(signer) => signer
                .sign(&subject.descriptor, &subject.repository)
                .map_err(|error| self.failed(error))?,
            Maker::Signify(service) => {
                let Subject {
                    descriptor,
                    repository,
                    tags,
                } = subject;
                let signed = service.sign(descriptor, repository, tags, now).await;
                signed.map_err(|error| self.failed(error))?;
                return Ok(Sealed::default());
            }
        };
        Ok(Sealed {
            attachments: vec![attachment],
        })
    }

    fn failed(&self, error: impl Error + Send + Sync + 'static) -> SealError {
        SealError {
            message: format!("{} made no signature", self.name),
            advice: None,
            source: Some(Box::new(error)),
        }
    }
}

impl Seal for Signer {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    /// Whether it signs names, and so needs one.
    fn signs_tags(&self) -> bool {
        match self.maker {
            Maker::Signify(_) => true,
            Maker::Notation { .. } | Maker::Cosign(_) => false,
        }
    }

    fn seal<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Sealed, SealError>> + Send + 's>> {
        Box::pin(self.make(subject))
    }
}

/// A signer of some repositories only.
pub(crate) struct Confined {
    /// Who signs.
    pub(crate) signer: Signer,
    /// What is in these.
    pub(crate) repositories: BTreeSet<Repository>,
}

impl Seal for Confined {
    fn name(&self) -> &str {
        self.signer.name()
    }

    fn identity(&self) -> String {
        self.signer.identity()
    }

    fn signs_tags(&self) -> bool {
        self.signer.signs_tags()
    }

    fn seals(&self, repository: &Repository) -> bool {
        self.repositories.contains(repository)
    }

    fn seal<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Sealed, SealError>> + Send + 's>> {
        self.signer.seal(subject)
    }
}

/// Signers as the transaction takes them.
pub(crate) fn seals(signers: Vec<Signer>) -> Vec<Arc<dyn Seal>> {
    let seals = signers.into_iter();
    seals.map(|signer| Arc::new(signer) as _).collect()
}
