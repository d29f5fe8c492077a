//! Signers, from flags and from `kiln.yaml`.

use std::path::Path;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use project::{SignatureEnvelope, SignerDeclaration, SignerKind};
use registry::Client;
use sign::{Certificate, Envelope, Signify, SignifyCredentials, SignifyTiming, TimestampAuthority};

use super::Signer;
use super::material::{Source, certificates, private_key};
use crate::error::ProgramError;
use crate::project::LoadedProject;
use crate::settings::Settings;

/// What opens keys where no flag says it, as cosign has it.
const COSIGN_PASSPHRASE: &str = "COSIGN_PASSWORD";
/// The same, for all other keys.
const PASSPHRASE: &str = "KILN_SIGN_PASSPHRASE";

/// A signer that is described by flags.
#[derive(Args, Debug)]
pub(crate) struct SignerOptions {
    /// What to make [default: notation with --certificates, signify with --endpoint, else cosign]
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<Kind>,

    /// Private key, PEM: a file, or `env:NAME`
    #[arg(long, value_name = "FILE|env:NAME")]
    key: Option<String>,

    /// What opens the key: a file, or `env:NAME` [default: KILN_SIGN_PASSPHRASE, or COSIGN_PASSWORD
    /// for cosign]
    #[arg(long, value_name = "FILE|env:NAME", requires = "key")]
    passphrase: Option<String>,

    /// Certificates of the key, PEM, the signer's first and the root last
    #[arg(long, value_name = "FILE|env:NAME", requires = "key")]
    certificates: Option<String>,

    /// How Notary signatures are written
    #[arg(long, value_enum, value_name = "FORM", requires = "certificates")]
    envelope: Option<EnvelopeName>,

    /// Timestamp authority (RFC 3161) that countersigns
    #[arg(
        long,
        value_name = "URL",
        requires = "certificates",
        requires = "timestamp_roots"
    )]
    timestamp: Option<String>,

    /// Roots of the timestamp authority, PEM
    #[arg(
        long,
        value_name = "FILE",
        alias = "timestamp-root-cert",
        requires = "timestamp"
    )]
    timestamp_roots: Option<String>,

    /// How long Notary signatures count, such as `8760h` [default: no end of their own]
    #[arg(long, value_name = "DURATION", requires = "certificates")]
    expiry: Option<String>,

    /// Address of a signing service
    #[arg(long, value_name = "URL", requires = "secret")]
    endpoint: Option<String>,

    /// Secret of the signing service, JSON: a file, or `env:NAME`
    #[arg(long, value_name = "FILE|env:NAME", requires = "endpoint")]
    secret: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Notary Project signatures
    Notation,
    /// Cosign signatures with a key
    Cosign,
    /// A signing service that keeps the signatures
    Signify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EnvelopeName {
    /// JSON
    Jws,
    /// CBOR
    Cose,
}

/// Makes signers. Nothing is asked of anybody while they are made.
pub(crate) struct Signers<'s> {
    /// The environment.
    pub(crate) settings: &'s Settings,
    /// For clients of services.
    pub(crate) client: &'s Client,
}

/// A signer in one form, wherever it is written.
struct Description<'d> {
    name: String,
    kind: SignerKind,
    key: Option<&'d str>,
    passphrase: Option<&'d str>,
    certificates: Option<&'d str>,
    envelope: Envelope,
    timestamp: Option<&'d str>,
    timestamp_roots: Option<&'d str>,
    lasts: Option<SignedDuration>,
    endpoint: Option<&'d str>,
    secret: Option<&'d str>,
    /// What paths are relative to.
    directory: &'d Path,
}

impl SignerOptions {
    /// Whether they describe anything.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            kind,
            key,
            passphrase: _,
            certificates: _,
            envelope: _,
            timestamp: _,
            timestamp_roots: _,
            expiry: _,
            endpoint,
            secret: _,
        } = self;
        kind.is_none() && key.is_none() && endpoint.is_none()
    }
}

impl Signers<'_> {
    /// The signer of the flags.
    pub(crate) fn of_flags(&self, options: &SignerOptions) -> Result<Signer, ProgramError> {
        let kind = match options.kind {
            Some(Kind::Notation) => SignerKind::Notation,
            Some(Kind::Cosign) => SignerKind::Cosign,
            Some(Kind::Signify) => SignerKind::Signify,
            None if options.certificates.is_some() => SignerKind::Notation,
            None if options.endpoint.is_some() => SignerKind::Signify,
            None => SignerKind::Cosign,
        };
        let lasts = options.expiry.as_deref().map(duration).transpose()?;
        self.make(&Description {
            name: kind_name(kind).to_owned(),
            kind,
            key: options.key.as_deref(),
            passphrase: options.passphrase.as_deref(),
            certificates: options.certificates.as_deref(),
            envelope: match options.envelope {
                None | Some(EnvelopeName::Jws) => Envelope::Jws,
                Some(EnvelopeName::Cose) => Envelope::Cose,
            },
            timestamp: options.timestamp.as_deref(),
            timestamp_roots: options.timestamp_roots.as_deref(),
            lasts,
            endpoint: options.endpoint.as_deref(),
            secret: options.secret.as_deref(),
            directory: Path::new(""),
        })
    }

    /// Signers of `kiln.yaml`, by their names; without names the only one there is. A name that
    /// nothing is declared under is an error (D-43).
    pub(crate) fn of_project(
        &self,
        project: Option<&LoadedProject>,
        names: &[String],
    ) -> Result<Vec<Signer>, ProgramError> {
        let Some(project) = project else {
            return Err(
                ProgramError::input("there is no kiln.yaml that could say who signs")
                    .hint("describe the signer with flags: `kiln sign --help` has them"),
            );
        };
        let declared = &project.values().signers;
        let known = || {
            let names: Vec<&str> = declared.keys().map(String::as_str).collect();
            names.join(", ")
        };
        if names.is_empty() {
            return match declared.len() {
                0 => Err(ProgramError::input("kiln.yaml declares no signers")
                    .hint("docs/signing.md says how")),
                1 => {
                    let (name, declaration) = declared
                        .iter()
                        .next()
                        .unwrap_or_else(|| unreachable!("one is there"));
                    Ok(vec![self.of_declaration(
                        name,
                        declaration,
                        &project.directory,
                    )?])
                }
                _ => Err(ProgramError::input(
                    "kiln.yaml declares several signers, and none was named",
                )
                .hint(format!("name one of {}", known()))),
            };
        }
        let signers = names.iter().map(|name| match declared.get(name) {
            Some(declaration) => self.of_declaration(name, declaration, &project.directory),
            None => Err(
                ProgramError::input(format!("kiln.yaml declares no signer `{name}`"))
                    .hint(format!("it declares {}", known())),
            ),
        });
        signers.collect()
    }

    fn of_declaration(
        &self,
        name: &str,
        declaration: &SignerDeclaration,
        directory: &Path,
    ) -> Result<Signer, ProgramError> {
        let SignerDeclaration {
            kind,
            key,
            passphrase,
            certificates,
            envelope,
            timestamp,
            timestamp_roots,
            endpoint,
            secret,
        } = declaration;
        self.make(&Description {
            name: name.to_owned(),
            kind: *kind,
            key: key.as_deref(),
            passphrase: passphrase.as_deref(),
            certificates: certificates.as_deref(),
            envelope: match envelope {
                None | Some(SignatureEnvelope::Jws) => Envelope::Jws,
                Some(SignatureEnvelope::Cose) => Envelope::Cose,
            },
            timestamp: timestamp.as_deref(),
            timestamp_roots: timestamp_roots.as_deref(),
            lasts: None,
            endpoint: endpoint.as_deref(),
            secret: secret.as_deref(),
            directory,
        })
    }

    fn make(&self, description: &Description<'_>) -> Result<Signer, ProgramError> {
        description.check()?;
        let name = description.name.clone();
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            ProgramError::input(format!("the signer {} cannot be used", description.name))
                .because(error)
        };
        match description.kind {
            SignerKind::Notation => {
                let key = self.key(description, PASSPHRASE)?;
                let chain = self.certificates(description, description.certificates)?;
                let authority = self.authority(description)?;
                let (envelope, lasts) = (description.envelope, description.lasts);
                Signer::notation(name, key, chain, envelope, authority, lasts)
                    .map_err(|error| unusable(&error))
            }
            SignerKind::Cosign => {
                let key = self.key(description, COSIGN_PASSPHRASE)?;
                Signer::cosign(name, key).map_err(|error| unusable(&error))
            }
            SignerKind::Signify => {
                let (Some(endpoint), Some(secret)) = (description.endpoint, description.secret)
                else {
                    return Err(description.lacks("an endpoint and a secret"));
                };
                let secret = Source::read(secret, description.directory);
                let credentials = SignifyCredentials::read(&secret.bytes(self.settings)?);
                let credentials = credentials.map_err(|error| {
                    ProgramError::input(format!(
                        "{} is not the secret of a signing service",
                        secret.name()
                    ))
                    .because(&error)
                })?;
                let http = self.client.http_as(credentials.pem());
                let http = http.map_err(|error| unusable(&error))?;
                let timing = SignifyTiming::default();
                let signify = Signify::new(endpoint, credentials, http, timing)
                    .map_err(|error| unusable(&error))?;
                Ok(Signer::signify(name, signify))
            }
        }
    }

    fn key(
        &self,
        description: &Description<'_>,
        variable: &str,
    ) -> Result<sign::PrivateKey, ProgramError> {
        let source = |text: &str| Source::read(text, description.directory);
        let Some(key) = description.key else {
            return Err(description.lacks("a key"));
        };
        let passphrase = description.passphrase.map(source);
        private_key(&source(key), passphrase.as_ref(), variable, self.settings)
    }

    fn certificates(
        &self,
        description: &Description<'_>,
        text: Option<&str>,
    ) -> Result<Vec<Certificate>, ProgramError> {
        let Some(text) = text else {
            return Err(description.lacks("certificates"));
        };
        certificates(&Source::read(text, description.directory), self.settings)
    }

    fn authority(
        &self,
        description: &Description<'_>,
    ) -> Result<Option<TimestampAuthority>, ProgramError> {
        let Some(address) = description.timestamp else {
            return Ok(None);
        };
        if description.timestamp_roots.is_none() {
            return Err(description.lacks("the roots of its timestamp authority"));
        }
        let roots = self.certificates(description, description.timestamp_roots)?;
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            ProgramError::input("the timestamp authority cannot be used").because(error)
        };
        let http = self.client.http().map_err(|error| unusable(&error))?;
        TimestampAuthority::new(address, roots, http)
            .map(Some)
            .map_err(|error| unusable(&error))
    }
}

impl Description<'_> {
    /// What is said must mean something for its kind: nothing is ignored.
    fn check(&self) -> Result<(), ProgramError> {
        let notation = self.kind == SignerKind::Notation;
        let signify = self.kind == SignerKind::Signify;
        let given = [
            ("key", self.key.is_some(), !signify),
            ("passphrase", self.passphrase.is_some(), !signify),
            ("certificates", self.certificates.is_some(), notation),
            ("timestamp", self.timestamp.is_some(), notation),
            ("timestamp-roots", self.timestamp_roots.is_some(), notation),
            ("expiry", self.lasts.is_some(), notation),
            ("endpoint", self.endpoint.is_some(), signify),
            ("secret", self.secret.is_some(), signify),
        ];
        for (name, is_given, makes_sense) in given {
            if is_given && !makes_sense {
                return Err(ProgramError::input(format!(
                    "`{name}` means nothing for the signer {}, which is of the kind {}",
                    self.name,
                    kind_name(self.kind)
                )));
            }
        }
        Ok(())
    }

    fn lacks(&self, what: &str) -> ProgramError {
        let kind = kind_name(self.kind);
        ProgramError::input(format!(
            "the signer {}, of the kind {kind}, needs {what}",
            self.name
        ))
    }
}

fn kind_name(kind: SignerKind) -> &'static str {
    match kind {
        SignerKind::Notation => "notation",
        SignerKind::Cosign => "cosign",
        SignerKind::Signify => "signify",
    }
}

fn duration(text: &str) -> Result<SignedDuration, ProgramError> {
    match text.parse::<SignedDuration>() {
        // An end that no clock reaches would be none.
        Ok(duration)
            if duration.is_positive() && Timestamp::now().checked_add(duration).is_ok() =>
        {
            Ok(duration)
        }
        _ => Err(ProgramError::input(format!(
            "--expiry: `{text}` is not a duration, such as 24h or 8760h"
        ))),
    }
}
