//! Which signatures an image has in a registry, and which of them count.
//!
//! It asks, and has `sign` judge. What it finds is for `kiln verify` and for rules that want signed
//! images.

use std::error::Error;

use jiff::Timestamp;
use oci::{Descriptor, Digest, Document, Repository};
use registry::{Client, ErrorKind};
use sign::{
    COSIGN_SIGNATURES_MAX, ENVELOPE_BYTES_MAX, NOTARY_ARTIFACT_TYPE, PublicKey,
    SIMPLE_SIGNING_BYTES_MAX, Trust, Verified, envelope_of, signature_tag, verify_cosign,
    verify_notary,
};

use crate::error::ProgramError;

/// The most Notary signatures of one image that are looked at, the newest first (D17, E16).
pub(crate) const NOTARY_SIGNATURES_MAX: usize = 100;

/// Whom to believe. What is there must be satisfied; nothing at all satisfies nobody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trusted {
    /// Of Notary signatures.
    pub(crate) notary: Option<Trust>,
    /// Of cosign signatures: one of these keys.
    pub(crate) keys: Vec<PublicKey>,
}

impl Trusted {
    /// Whether nobody is believed.
    pub(crate) fn is_nobody(&self) -> bool {
        self.notary.is_none() && self.keys.is_empty()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// What was asked for, and whether a signature satisfies it.
    pub(crate) requirements: Vec<Requirement>,
    /// All signatures that were looked at.
    pub(crate) signatures: Vec<Signature>,
    /// Kinds of which there are more than were looked at.
    pub(crate) capped: Vec<Kind>,
}

/// Something that must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Of which kind a signature must be.
    pub(crate) kind: Kind,
    /// Which signature satisfies it.
    pub(crate) satisfied_by: Option<Digest>,
}

/// Kinds of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the Notary Project.
    Notation,
    /// Of cosign.
    Cosign,
}

/// A signature, as it was judged.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its manifest, or with cosign its layer.
    pub(crate) digest: Digest,
    /// What was found.
    pub(crate) judgement: Judgement,
}

/// Whether a signature counts.
#[derive(Clone, Debug)]
pub(crate) enum Judgement {
    /// A Notary signature that does.
    Notary(Box<Verified>),
    /// A cosign signature that does.
    Cosign {
        /// The key, SHA-256 in hexadecimal digits.
        key: String,
        /// What the signer called the image.
        signed_name: String,
    },
    /// It does not, for this reason.
    Refused(String),
}

impl Kind {
    /// As users know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Notation => "notation",
            Self::Cosign => "cosign",
        }
    }
}

impl Verdict {
    /// Whether all that was asked for is satisfied. Where nothing was asked for, nothing is.
    pub(crate) fn is_verified(&self) -> bool {
        !self.requirements.is_empty()
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.satisfied_by.is_some())
    }
}

/// Looks at the signatures of `subject`, whose descriptor must be made from the bytes that were
/// looked at.
///
/// # Errors
///
/// When the registry does not say which signatures there are. A signature that cannot be fetched is
/// one that does not count.
pub(crate) async fn verify(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
    trusted: &Trusted,
    now: Timestamp,
) -> Result<Verdict, ProgramError> {
    let mut verdict = Verdict {
        requirements: Vec::new(),
        signatures: Vec::new(),
        capped: Vec::new(),
    };
    if let Some(trust) = &trusted.notary {
        notary(client, repository, subject, trust, now, &mut verdict).await?;
        verdict.require(Kind::Notation);
    }
    if !trusted.keys.is_empty() {
        cosign(client, repository, subject, &trusted.keys, &mut verdict).await?;
        verdict.require(Kind::Cosign);
    }
    Ok(verdict)
}

impl Verdict {
    fn require(&mut self, kind: Kind) {
        let mut signatures = self.signatures.iter();
        let counts = signatures.find(|signature| {
            signature.kind == kind && !matches!(signature.judgement, Judgement::Refused(_))
        });
        let satisfied_by = counts.map(|signature| signature.digest.clone());
        self.requirements.push(Requirement { kind, satisfied_by });
    }
}

async fn notary(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
    trust: &Trust,
    now: Timestamp,
    verdict: &mut Verdict,
) -> Result<(), ProgramError> {
    let referrers = client
        .referrers(repository, &subject.digest, Some(NOTARY_ARTIFACT_TYPE))
        .await
        .map_err(|error| unasked(repository, subject, &error))?;
    if referrers.len() > NOTARY_SIGNATURES_MAX {
        verdict.capped.push(Kind::Notation);
    }
    for descriptor in referrers.iter().take(NOTARY_SIGNATURES_MAX) {
        let judged = judge_notary(client, repository, subject, trust, now, descriptor).await;
        verdict.signatures.push(Signature {
            kind: Kind::Notation,
            digest: descriptor.digest.clone(),
            judgement: match judged {
                Ok(verified) => Judgement::Notary(Box::new(verified)),
                Err(reason) => Judgement::Refused(reason),
            },
        });
    }
    Ok(())
}

async fn judge_notary(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
    trust: &Trust,
    now: Timestamp,
    descriptor: &Descriptor,
) -> Result<Verified, String> {
    let reference = repository.at_digest(descriptor.digest.clone());
    let document = client
        .manifest(&reference)
        .await
        .map_err(|error| said(&error))?;
    let Document::Manifest(manifest) = document else {
        return Err("it is an index and not a signature".to_owned());
    };
    let manifest = manifest.value();
    // That the list has it says nothing: anybody may list anything (E09).
    let about = manifest.subject.as_ref().map(|subject| &subject.digest);
    if about != Some(&subject.digest) {
        return Err("its manifest is about another image".to_owned());
    }
    let (layer, envelope) = envelope_of(manifest).map_err(|error| said(&error))?;
    let bytes = client
        .document(repository, layer, ENVELOPE_BYTES_MAX as u64)
        .await
        .map_err(|error| said(&error))?;
    verify_notary(envelope, &bytes, subject, trust, now).map_err(|error| said(&error))
}

async fn cosign(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
    keys: &[PublicKey],
    verdict: &mut Verdict,
) -> Result<(), ProgramError> {
    let Some(tag) = signature_tag(&subject.digest) else {
        return Ok(());
    };
    let manifest = match client.manifest(&repository.at_tag(tag)).await {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Ok(()),
        Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unasked(repository, subject, &error)),
    };
    let layers = &manifest.value().layers;
    if layers.len() > COSIGN_SIGNATURES_MAX {
        verdict.capped.push(Kind::Cosign);
    }
    // Signatures are added at the end: the newest first.
    for layer in layers.iter().rev().take(COSIGN_SIGNATURES_MAX) {
        let fetched = client
            .document(repository, layer, SIMPLE_SIGNING_BYTES_MAX)
            .await;
        let judged = match fetched {
            Ok(payload) => {
                verify_cosign(layer, &payload, &subject.digest, keys).map_err(|error| said(&error))
            }
            Err(error) => Err(said(&error)),
        };
        verdict.signatures.push(Signature {
            kind: Kind::Cosign,
            digest: layer.digest.clone(),
            judgement: match judged {
                Ok(verified) => Judgement::Cosign {
                    key: keys[verified.key].fingerprint(),
                    signed_name: verified.signed_name,
                },
                Err(reason) => Judgement::Refused(reason),
            },
        });
    }
    Ok(())
}

/// An error with its causes, as one sentence.
fn said(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

fn unasked(repository: &Repository, subject: &Descriptor, error: &registry::Error) -> ProgramError {
    let headline = format!(
        "could not look for the signatures of {repository}@{}",
        subject.digest
    );
    let said = ProgramError::failed(headline).because(error);
    match error.advice() {
        Some(advice) => said.hint(advice),
        None => said,
    }
}
