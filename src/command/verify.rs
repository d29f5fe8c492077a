//! `kiln verify`: whether an image is signed by somebody who is trusted.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use oci::{Descriptor, Reference};
use registry::ErrorKind;
use serde_json::{Value, json};
use sign::{Certificate, Identities, Identity, Trust, read_trust_policy};

use super::print_product;
use super::sign::reference;
use crate::args::{Format, FormatOption, ProjectOptions, RegistryOptions};
use crate::command::Command;
use crate::error::{EXIT_NOT_VERIFIED, ProgramError};
use crate::ports;
use crate::project::{self, LoadedProject};
use crate::render::{Presentation, text};
use crate::settings::Settings;
use crate::signing::{Source, certificates, public_keys};
use crate::verification::{Judgement, NOTARY_SIGNATURES_MAX, Signature, Trusted, Verdict, verify};

/// Check that images are signed by somebody who is trusted
///
/// Whom to trust is said by flags, or else by `verify` of kiln.yaml: of Notary signatures one must
/// lead to the roots, of cosign signatures one must be by one of the keys, and where both are given,
/// both must be there. Exits with 6 when an image is not verified. See docs/signing.md.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln verify registry.example/team/app:v1 --key cosign.pub\n  \
                  kiln verify registry.example/team/app:v1 --roots ca.pem --identity \
                  'x509.subject: CN=release'\n  kiln verify registry.example/team/app:v1 \
                  --trust-policy ~/.config/notation/trustpolicy.json --format json"
)]
pub(crate) struct VerifyArguments {
    /// Images in registries
    #[arg(value_name = "REF", required = true)]
    images: Vec<String>,

    /// Public key of cosign signatures, PEM: a file, or `env:NAME`
    #[arg(long = "key", value_name = "FILE|env:NAME")]
    keys: Vec<String>,

    /// Trusted roots of Notary signatures, PEM
    #[arg(long, value_name = "FILE|env:NAME")]
    roots: Vec<String>,

    /// Who must have signed, such as `x509.subject: C=DE, O=Example, CN=release` [default: anybody
    /// with a certificate of the roots]
    #[arg(long = "identity", value_name = "SUBJECT", requires = "roots")]
    identities: Vec<String>,

    /// Trusted roots of timestamp authorities, PEM
    #[arg(
        long,
        value_name = "FILE|env:NAME",
        alias = "timestamp-root-cert",
        requires = "roots"
    )]
    timestamp_roots: Vec<String>,

    /// Trust policy of notation, with its trust store beside it
    #[arg(long, value_name = "FILE", conflicts_with = "roots")]
    trust_policy: Option<PathBuf>,

    /// Trust store [default: the directory `trust-store` beside the policy]
    #[arg(long, value_name = "DIR", requires = "trust_policy")]
    trust_store: Option<PathBuf>,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    project: ProjectOptions,

    #[command(flatten)]
    registry: RegistryOptions,
}

/// What an image came to.
struct Checked {
    image: Reference,
    subject: Descriptor,
    /// Nothing where the policy says that it need not be verified.
    verdict: Option<Verdict>,
}

impl Checked {
    fn is_verified(&self) -> bool {
        self.verdict.as_ref().is_none_or(Verdict::is_verified)
    }
}

impl Command for VerifyArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let mut images = Vec::new();
        for text in &self.images {
            let image = reference(text)?;
            let trusted = self.trusted(settings, &image)?;
            images.push((image, trusted));
        }
        let checked = ports::converse(settings, presentation, async |client| {
            let mut all = Vec::new();
            for (image, trusted) in images {
                let document = client.manifest(&image).await;
                let document = document.map_err(|error| not_there(&image, &error))?;
                // Made from the bytes, not from what the registry says of them.
                let subject = document.descriptor();
                let verdict = match &trusted {
                    None => None,
                    Some(trusted) => {
                        let repository = image.repository();
                        let now = Timestamp::now();
                        Some(verify(client, repository, &subject, trusted, now).await?)
                    }
                };
                all.push(Checked {
                    image,
                    subject,
                    verdict,
                });
            }
            Ok(all)
        })?;
        print_product(&match self.format.format {
            Format::Text => checked.iter().map(as_text).collect(),
            Format::Json => as_json(&checked),
        })?;
        if checked.iter().all(Checked::is_verified) {
            return Ok(ExitCode::SUCCESS);
        }
        Ok(ExitCode::from(EXIT_NOT_VERIFIED))
    }
}

fn not_there(image: &Reference, error: &registry::Error) -> ProgramError {
    let headline = format!("could not look up {}", image.familiar());
    let said = match error.kind() {
        ErrorKind::NotFound => ProgramError::input(headline),
        _ => ProgramError::failed(headline),
    };
    let said = said.because(error);
    match error.advice() {
        Some(advice) => said.hint(advice),
        None => said,
    }
}

impl VerifyArguments {
    /// Whom to believe of an image; nothing where a policy wants nothing verified.
    fn trusted(
        &self,
        settings: &Settings,
        image: &Reference,
    ) -> Result<Option<Trusted>, ProgramError> {
        if let Some(policy) = &self.trust_policy {
            let beside = policy.parent().unwrap_or(Path::new("")).join("trust-store");
            let store = self.trust_store.as_deref().unwrap_or(&beside);
            let trust = read_trust_policy(policy, store, image.repository());
            let notary = trust.map_err(|error| {
                ProgramError::input("the trust policy cannot be used").because(&error)
            })?;
            let keys = self.keys(settings)?;
            return Ok(match (&notary, keys.is_empty()) {
                (None, true) => None,
                _ => Some(Trusted { notary, keys }),
            });
        }
        if !self.roots.is_empty() || !self.keys.is_empty() {
            let here = Path::new("");
            let notary = Lists {
                roots: &self.roots,
                identities: &self.identities,
                timestamp_roots: &self.timestamp_roots,
                directory: here,
            };
            return Ok(Some(Trusted {
                notary: notary.trust(settings)?,
                keys: self.keys(settings)?,
            }));
        }
        let nobody = || {
            ProgramError::input(
                "nobody is trusted: no flag and no kiln.yaml says whose signatures count",
            )
            .hint("name keys with --key, roots with --roots, or a policy with --trust-policy")
        };
        let project = project::find(settings, (&self.project).into())?.ok_or_else(nobody)?;
        let trusted = trusted_by(&project, settings)?;
        if trusted.is_nobody() {
            return Err(nobody());
        }
        Ok(Some(trusted))
    }

    fn keys(&self, settings: &Settings) -> Result<Vec<sign::PublicKey>, ProgramError> {
        let sources = self
            .keys
            .iter()
            .map(|text| Source::read(text, Path::new("")));
        public_keys(&sources.collect::<Vec<_>>(), settings)
    }
}

/// Whom `verify` of a `kiln.yaml` believes; nobody where it says nothing.
pub(crate) fn trusted_by(
    project: &LoadedProject,
    settings: &Settings,
) -> Result<Trusted, ProgramError> {
    let policy = &project.values().verify;
    let directory = &project.directory;
    let lists = Lists {
        roots: &policy.roots,
        identities: &policy.identities,
        timestamp_roots: &policy.timestamp_roots,
        directory,
    };
    let sources = policy.keys.iter();
    let sources = sources.map(|text| Source::read(text, directory));
    Ok(Trusted {
        notary: lists.trust(settings)?,
        keys: public_keys(&sources.collect::<Vec<_>>(), settings)?,
    })
}

/// Whom to believe of Notary signatures, as it is written.
struct Lists<'l> {
    roots: &'l [String],
    identities: &'l [String],
    timestamp_roots: &'l [String],
    directory: &'l Path,
}

impl Lists<'_> {
    fn trust(&self, settings: &Settings) -> Result<Option<Trust>, ProgramError> {
        if self.roots.is_empty() {
            if self.identities.is_empty() && self.timestamp_roots.is_empty() {
                return Ok(None);
            }
            return Err(ProgramError::input(
                "identities and timestamp roots mean nothing without roots",
            ));
        }
        let identities: Vec<Identity> = self
            .identities
            .iter()
            .map(|text| {
                Identity::read(text)
                    .map_err(|error| ProgramError::input("that is no identity").because(&error))
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Trust {
            roots: self.certificates(self.roots, settings)?,
            timestamp_roots: self.certificates(self.timestamp_roots, settings)?,
            identities: if identities.is_empty() {
                Identities::Any
            } else {
                Identities::Of(identities)
            },
            ..Trust::default()
        }))
    }

    fn certificates(
        &self,
        texts: &[String],
        settings: &Settings,
    ) -> Result<Vec<Certificate>, ProgramError> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(certificates(&Source::read(text, self.directory), settings)?);
        }
        Ok(all)
    }
}

fn as_text(checked: &Checked) -> String {
    let name = checked.image.familiar();
    let digest = &checked.subject.digest;
    let mut out = String::new();
    let Some(verdict) = &checked.verdict else {
        return format!("{name}: need not be verified, says the policy ({digest})\n");
    };
    let word = if verdict.is_verified() {
        "verified"
    } else {
        "NOT VERIFIED"
    };
    let _ = writeln!(out, "{name}: {word} ({digest})");
    for requirement in &verdict.requirements {
        let kind = requirement.kind.name();
        let _ = match &requirement.satisfied_by {
            Some(signature) => writeln!(out, "  {kind}: satisfied by {signature}"),
            None => writeln!(out, "  {kind}: no signature counts"),
        };
    }
    for signature in &verdict.signatures {
        let _ = writeln!(out, "  {}", sentence(signature));
        if let Judgement::Notary(verified) = &signature.judgement {
            for note in &verified.notes {
                let _ = writeln!(out, "    note: {}", text::neutralise_lines(note));
            }
        }
    }
    for kind in &verdict.capped {
        let kind = kind.name();
        let _ = writeln!(
            out,
            "  {kind}: there are more signatures than the {NOTARY_SIGNATURES_MAX} newest, which alone were looked at"
        );
    }
    out
}

fn sentence(signature: &Signature) -> String {
    let kind = signature.kind.name();
    let digest = signature.digest.short();
    match &signature.judgement {
        Judgement::Notary(verified) => {
            let signer = text::neutralise_lines(&verified.signer);
            let stamp = match verified.timestamped_at {
                Some(at) => format!(", timestamped at {at}"),
                None => String::new(),
            };
            let expires = match verified.expires {
                Some(at) => format!(", expires at {at}"),
                None => String::new(),
            };
            let at = verified.signed_at;
            format!("{kind} {digest}: counts: by `{signer}` at {at}{stamp}{expires}")
        }
        Judgement::Cosign { key, signed_name } => {
            let name = text::neutralise_lines(signed_name);
            format!("{kind} {digest}: counts: by the key sha256:{key}, for `{name}`")
        }
        Judgement::Refused(reason) => {
            let reason = text::neutralise_lines(reason);
            format!("{kind} {digest}: does not count: {reason}")
        }
    }
}

fn as_json(checked: &[Checked]) -> String {
    let images: Vec<Value> = checked.iter().map(image_json).collect();
    let verified = checked.iter().all(Checked::is_verified);
    let whole = json!({ "schema": 1, "verified": verified, "images": images });
    format!("{whole:#}\n")
}

fn image_json(checked: &Checked) -> Value {
    let mut image = json!({
        "image": checked.image.to_string(),
        "digest": checked.subject.digest.to_string(),
        "verified": checked.is_verified(),
        "skipped": checked.verdict.is_none(),
    });
    let Some(verdict) = &checked.verdict else {
        return image;
    };
    let requirements = verdict.requirements.iter().map(|requirement| {
        json!({
            "kind": requirement.kind.name(),
            "satisfiedBy": requirement.satisfied_by.as_ref().map(ToString::to_string),
        })
    });
    image["requirements"] = requirements.collect();
    image["signatures"] = verdict.signatures.iter().map(signature_json).collect();
    image["capped"] = verdict.capped.iter().map(|kind| kind.name()).collect();
    image
}

fn signature_json(signature: &Signature) -> Value {
    let mut value = json!({
        "kind": signature.kind.name(),
        "digest": signature.digest.to_string(),
        "counts": !matches!(signature.judgement, Judgement::Refused(_)),
    });
    match &signature.judgement {
        Judgement::Notary(verified) => {
            value["signer"] = json!(verified.signer);
            value["certificate"] = json!(format!("sha256:{}", verified.certificate));
            value["signedAt"] = json!(verified.signed_at.to_string());
            value["timestampedAt"] = json!(verified.timestamped_at.map(|at| at.to_string()));
            value["expires"] = json!(verified.expires.map(|at| at.to_string()));
            value["notes"] = json!(verified.notes);
        }
        Judgement::Cosign { key, signed_name } => {
            value["key"] = json!(format!("sha256:{key}"));
            value["signedName"] = json!(signed_name);
        }
        Judgement::Refused(reason) => value["reason"] = json!(reason),
    }
    value
}
