//! Keys and certificates, from files and variables.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sign::{Certificate, PEM_BYTES_MAX, Passphrase, PrivateKey, PublicKey};

use zeroize::Zeroizing;

use crate::error::ProgramError;
use crate::settings::Settings;

/// Where something secret or trusted is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl Source {
    /// `file:PATH`, `env:NAME`, cosign's `env://NAME`, or a path as it is. `directory` is what paths
    /// are relative to.
    pub(crate) fn read(text: &str, directory: &Path) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            return Self::Variable(name.strip_prefix("//").unwrap_or(name).to_owned());
        }
        let path = text.strip_prefix("file:").unwrap_or(text);
        Self::File(directory.join(path))
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Variable(name) => format!("the variable {name}"),
        }
    }

    /// What is there.
    pub(crate) fn bytes(&self, settings: &Settings) -> Result<Vec<u8>, ProgramError> {
        match self {
            Self::Variable(name) => settings
                .variable_bytes(name)
                .ok_or_else(|| ProgramError::input(format!("the variable {name} is not set"))),
            Self::File(path) => {
                let failed = |error: &std::io::Error| {
                    let headline = format!("could not read {}", path.display());
                    ProgramError::input(headline).because(error)
                };
                let file = File::open(path).map_err(|error| failed(&error))?;
                let mut bytes = Vec::new();
                file.take(PEM_BYTES_MAX as u64 + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| failed(&error))?;
                Ok(bytes)
            }
        }
    }

    fn wrong(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> ProgramError {
        ProgramError::input(format!("{} is not {what}", self.name())).because(error)
    }
}

/// A private key, with its passphrase if it has one.
pub(super) fn private_key(
    source: &Source,
    passphrase: Option<&Source>,
    variable: &str,
    settings: &Settings,
) -> Result<PrivateKey, ProgramError> {
    let pem = Zeroizing::new(source.bytes(settings)?);
    let passphrase = match passphrase {
        Some(Source::File(path)) => {
            let source = Source::File(path.clone());
            Some(Passphrase::from_file(source.bytes(settings)?))
        }
        Some(source) => Some(Passphrase::new(source.bytes(settings)?)),
        None => settings.variable_bytes(variable).map(Passphrase::new),
    };
    PrivateKey::read(&pem, passphrase.as_ref()).map_err(|error| {
        let wrong = source.wrong("a private key that can be used", &error);
        match error {
            sign::KeyError::PassphraseMissing => wrong.hint(format!(
                "name a file with its passphrase with `--passphrase`, or set {variable}"
            )),
            _ => wrong,
        }
    })
}

/// The certificates of a file or a variable.
pub(crate) fn certificates(
    source: &Source,
    settings: &Settings,
) -> Result<Vec<Certificate>, ProgramError> {
    Certificate::read_all(&source.bytes(settings)?)
        .map_err(|error| source.wrong("a file of certificates", &error))
}

/// A public key.
pub(crate) fn public_keys(
    sources: &[Source],
    settings: &Settings,
) -> Result<Vec<PublicKey>, ProgramError> {
    let keys = sources.iter().map(|source| {
        PublicKey::read(&source.bytes(settings)?)
            .map_err(|error| source.wrong("a public key that can be used", &error))
    });
    keys.collect()
}
