//! Checking a signature: integrity first, then whom it is of, then when it was made (trust store and
//! trust policy specification, "Signature Verification").

use jiff::{SignedDuration, Timestamp};
use oci::{Descriptor, Manifest, MediaType};

use super::trust::leads_to;
use super::{
    Check, Contents, Envelope, EnvelopeError, NOTARY_ARTIFACT_TYPE, Payload, SigningScheme, Stamps,
    Trust, cose, jws,
};
use crate::certificate::{Certificate, Chain, ChainError, Purpose};
use crate::key::{PublicKeyError, Scheme, VerifyError};
use crate::timestamp::{self, TokenError};

/// How far clocks may be apart (E11).
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The subject of the signer's certificate.
    pub signer: String,
    /// The certificate, SHA-256 in hexadecimal digits.
    pub certificate: String,
    /// When the signer says that it was made.
    pub signed_at: Timestamp,
    /// When a timestamp authority saw it.
    pub timestamped_at: Option<Timestamp>,
    /// When it ceases to count.
    pub expires: Option<Timestamp>,
    /// What was found and tolerated.
    pub notes: Vec<String>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotaryRefusal {
    /// The manifest around it is not one of a signature.
    #[error("its manifest is not one of a Notary Project signature: {0}")]
    Manifest(&'static str),
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A certificate that cannot be read.
    #[error("certificate {0} of its chain cannot be read")]
    Certificate(usize),
    /// The signer's key.
    #[error("the key of its certificate cannot be used")]
    Key(#[from] PublicKeyError),
    /// The algorithm is not the one of the key.
    #[error("its algorithm is not the one that belongs to the key of its certificate")]
    Algorithm,
    /// Not a signature of these bytes.
    #[error("it was changed, or is not by the key of its certificate")]
    Integrity(#[source] VerifyError),
    /// What is signed is no descriptor.
    #[error("what is signed is not the description of an image")]
    Payload,
    /// Another image.
    #[error("it is of another image: {found}, not {expected}")]
    OtherSubject {
        /// Digest, size or type that was signed.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A chain that is not one.
    #[error("its certificates cannot be used")]
    Chain(#[from] ChainError),
    /// Nobody we believe.
    #[error("its certificates lead to no trusted root; its signer calls itself `{0}`")]
    Untrusted(String),
    /// Not the one that was wanted.
    #[error("its signer, `{0}`, is not one of the trusted identities")]
    Identity(String),
    /// It has expired.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// Signed in the future.
    #[error("it says that it was signed at {0}, which is yet to come")]
    Future(Timestamp),
    /// A certificate did not hold.
    #[error("the certificate of `{subject}` holds from {from} until {until}, not at {at}")]
    NotValid {
        /// Whose.
        subject: String,
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// When it should have.
        at: Timestamp,
    },
    /// A timestamp that does not count.
    #[error("its timestamp does not count")]
    Timestamp(#[from] TokenError),
    /// None where one must be.
    #[error("it has no timestamp, and the policy asks for one of a trusted authority")]
    NoTimestamp,
    /// Revocation is enforced and cannot be looked up.
    #[error(
        "the certificate of `{0}` names lists of revoked certificates, and kiln looks up none; \
         the policy can say `\"revocation\": \"log\"`"
    )]
    Revocation(String),
}

/// Which blob of a signature manifest is the envelope, and of which kind it is.
///
/// # Errors
///
/// When the manifest is not one of a signature.
pub fn envelope_of(manifest: &Manifest) -> Result<(&Descriptor, Envelope), NotaryRefusal> {
    let wrong = |what| Err(NotaryRefusal::Manifest(what));
    let named = manifest.artifact_type.as_deref() == Some(NOTARY_ARTIFACT_TYPE)
        || manifest.config.media_type == MediaType::from(NOTARY_ARTIFACT_TYPE);
    if !named {
        return wrong("it is another kind of artefact");
    }
    let [layer] = manifest.layers.as_slice() else {
        return wrong("it does not have exactly one layer");
    };
    let kind = Envelope::ALL
        .into_iter()
        .find(|kind| kind.media_type() == layer.media_type);
    match kind {
        Some(kind) => Ok((layer, kind)),
        None => wrong("its layer is neither JWS nor COSE"),
    }
}

/// Checks a signature of `subject` at the time `now`.
///
/// # Errors
///
/// The first reason why it does not count.
pub fn verify_notary(
    envelope: Envelope,
    bytes: &[u8],
    subject: &Descriptor,
    trust: &Trust,
    now: Timestamp,
) -> Result<Verified, NotaryRefusal> {
    let contents = match envelope {
        Envelope::Jws => jws::read(bytes)?,
        Envelope::Cose => cose::read(bytes)?,
    };
    let certificates = certificates(&contents)?;
    // There is one, or the envelope would not have been read.
    let leaf = &certificates[0];
    check_integrity(&contents, leaf)?;
    check_subject(&contents, subject)?;

    let mut notes = Vec::new();
    let mut verified = Verified {
        signer: leaf.subject(),
        certificate: leaf.fingerprint(),
        signed_at: contents.claims.signed_at,
        timestamped_at: None,
        expires: contents.claims.expires,
        notes: Vec::new(),
    };
    let checks = &trust.checks;
    let chain = Chain::new(certificates.clone(), Purpose::CodeSigning);
    settle(
        checks.authenticity,
        check_authenticity(&contents, &chain, leaf, trust),
        &mut notes,
    )?;
    settle(checks.expiry, check_expiry(&contents, now), &mut notes)?;
    // What is no chain held at no time, however little is asked of who signed.
    if let Err(error) = &chain {
        settle(checks.timestamp, Err(error.clone().into()), &mut notes)?;
    }
    if let Ok(chain) = &chain {
        let times = check_times(&contents, chain, trust, now);
        match times {
            Ok((at, noted)) => {
                verified.timestamped_at = at;
                notes.extend(noted);
            }
            Err(refusal) => settle(checks.timestamp, Err(refusal), &mut notes)?,
        }
        let listed = chain
            .certificates()
            .iter()
            .find(|one| one.names_revocation_lists());
        if let Some(certificate) = listed {
            let refusal = NotaryRefusal::Revocation(certificate.subject());
            match checks.revocation {
                Check::Enforce => return Err(refusal),
                Check::Log => notes.push(format!(
                    "whether the certificate of `{}` was revoked was not looked up",
                    certificate.subject()
                )),
                Check::Skip => {}
            }
        }
    }
    verified.notes = notes;
    Ok(verified)
}

/// Makes of a failed check what the policy says.
fn settle(
    check: Check,
    outcome: Result<(), NotaryRefusal>,
    notes: &mut Vec<String>,
) -> Result<(), NotaryRefusal> {
    match (check, outcome) {
        (_, Ok(())) | (Check::Skip, Err(_)) => Ok(()),
        (Check::Enforce, Err(refusal)) => Err(refusal),
        (Check::Log, Err(refusal)) => {
            notes.push(format!("tolerated by the policy: {refusal}"));
            Ok(())
        }
    }
}

fn certificates(contents: &Contents) -> Result<Vec<Certificate>, NotaryRefusal> {
    if contents.certificates.len() > crate::certificate::CHAIN_MAX {
        return Err(ChainError::TooLong.into());
    }
    let certificates = contents.certificates.iter().enumerate();
    certificates
        .map(|(index, der)| {
            Certificate::from_der(der).map_err(|_| NotaryRefusal::Certificate(index + 1))
        })
        .collect()
}

fn check_integrity(contents: &Contents, leaf: &Certificate) -> Result<(), NotaryRefusal> {
    let key = leaf.public_key()?;
    // The key decides, not the envelope (signature specification, "Algorithm Selection").
    if key.kind() != contents.key {
        return Err(NotaryRefusal::Algorithm);
    }
    key.verify(Scheme::Notary, &contents.signed, &contents.signature)
        .map_err(NotaryRefusal::Integrity)
}

fn check_subject(contents: &Contents, subject: &Descriptor) -> Result<(), NotaryRefusal> {
    let payload: Payload =
        serde_json::from_slice(&contents.payload).map_err(|_| NotaryRefusal::Payload)?;
    let target = payload.target_artifact;
    let other =
        |found: String, expected: String| Err(NotaryRefusal::OtherSubject { found, expected });
    if target.digest != subject.digest {
        return other(target.digest.to_string(), subject.digest.to_string());
    }
    if target.size != subject.size {
        return other(
            format!("{} bytes", target.size),
            format!("{} bytes", subject.size),
        );
    }
    if target.media_type != subject.media_type {
        return other(
            super::printable(target.media_type.as_str()),
            subject.media_type.as_str().to_owned(),
        );
    }
    Ok(())
}

fn check_authenticity(
    contents: &Contents,
    chain: &Result<Chain, ChainError>,
    leaf: &Certificate,
    trust: &Trust,
) -> Result<(), NotaryRefusal> {
    let chain = chain.as_ref().map_err(Clone::clone)?;
    let roots = match contents.claims.scheme {
        SigningScheme::X509 => &trust.roots,
        SigningScheme::SigningAuthority => &trust.authority_roots,
    };
    if !leads_to(chain, roots) {
        return Err(NotaryRefusal::Untrusted(leaf.subject()));
    }
    if !trust.identities.accept(leaf) {
        return Err(NotaryRefusal::Identity(leaf.subject()));
    }
    Ok(())
}

fn check_expiry(contents: &Contents, now: Timestamp) -> Result<(), NotaryRefusal> {
    match contents.claims.expires {
        Some(expires) if now >= expires => Err(NotaryRefusal::Expired(expires)),
        _ => Ok(()),
    }
}

/// When the certificates must have held: at the time that is vouched for, or else both when it was
/// signed and now.
fn check_times(
    contents: &Contents,
    chain: &Chain,
    trust: &Trust,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Vec<String>), NotaryRefusal> {
    let claims = &contents.claims;
    let later = now
        .saturating_add(CLOCK_TOLERANCE)
        .unwrap_or(Timestamp::MAX);
    if claims.signed_at > later {
        return Err(NotaryRefusal::Future(claims.signed_at));
    }
    let mut notes = Vec::new();
    let mut token = contents.timestamp.as_deref();
    if token.is_some() && trust.timestamp_roots.is_empty() {
        notes.push("its timestamp was not looked at: no timestamp authority is trusted".into());
        token = None;
    }
    if trust.checks.stamps == Stamps::AfterExpiry && valid(chain, now, now).is_ok() {
        token = None;
    }
    let is_wanted = trust.checks.stamps == Stamps::Always && !trust.timestamp_roots.is_empty();
    match (claims.scheme, token) {
        (SigningScheme::X509, Some(token)) => {
            let roots = &trust.timestamp_roots;
            let stamp = timestamp::verify(token, &contents.signature, None, roots)?;
            valid(chain, stamp.earliest(), stamp.latest())?;
            valid(chain, claims.signed_at, claims.signed_at)?;
            Ok((Some(stamp.at), notes))
        }
        (SigningScheme::X509, None) if is_wanted => Err(NotaryRefusal::NoTimestamp),
        (SigningScheme::X509, None) => {
            valid(chain, claims.signed_at, claims.signed_at)?;
            if let Err(refusal) = valid(chain, now, now) {
                // A clock that is a little off is no reason to refuse what holds on the others.
                let earlier = now
                    .saturating_sub(CLOCK_TOLERANCE)
                    .unwrap_or(Timestamp::MIN);
                if valid(chain, later, later).is_err() && valid(chain, earlier, earlier).is_err() {
                    return Err(refusal);
                }
                notes.push(format!("tolerated, because clocks differ: {refusal}"));
            }
            Ok((None, notes))
        }
        (SigningScheme::SigningAuthority, _) => {
            valid(chain, claims.signed_at, claims.signed_at)?;
            Ok((None, notes))
        }
    }
}

fn valid(chain: &Chain, from: Timestamp, until: Timestamp) -> Result<(), NotaryRefusal> {
    let Some(certificate) = chain.invalid_within(from, until) else {
        return Ok(());
    };
    let (first, last) = certificate.validity();
    Err(NotaryRefusal::NotValid {
        subject: certificate.subject(),
        from: first,
        until: last,
        at: if from < first { from } else { until },
    })
}
