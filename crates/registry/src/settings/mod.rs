//! What is known about registries beforehand: mirrors, plain http, certificates.
//!
//! The files are those that podman, buildah and skopeo read
//! (`containers-registries.conf(5)`, version 2, and `certs.d`). What they say
//! is either followed, or named in a [`Note`] when it has no meaning for kiln,
//! or an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Origin;

mod certificates;
mod registries_conf;

pub use certificates::CertificateError;
pub(crate) use certificates::{HostCertificates, find_directory, read as read_certificates};

/// The largest settings file that is read, in bytes.
const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// The most files that are read from a drop-in directory.
const DROP_INS_MAX: usize = 1000;

/// Settings for all registries. The default knows none: https for everybody,
/// plain http for loopback hosts.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// From `containers-registries.conf(5)`; the longest matching prefix wins.
    pub rules: Vec<RegistryRule>,
    /// `certs.d` directories; the first that has a directory for a host is used.
    pub certificate_directories: Vec<PathBuf>,
    /// Whether loopback hosts without certificates speak plain http, as docker
    /// has it.
    pub loopback_is_plain: bool,
    /// Token services beyond the registry's own domain that may see credentials
    /// (D02), by registry host.
    pub token_services: BTreeMap<String, Vec<Origin>>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRule {
    /// `host[:port][/path]` or `*.domain`.
    pub prefix: String,
    /// What the prefix is replaced by; `None` leaves names as they are.
    pub location: Option<String>,
    /// Whether plain http and unverified certificates are allowed.
    pub insecure: bool,
    /// Whether nothing may be fetched or pushed.
    pub blocked: bool,
    /// Whether mirrors are asked for digests only.
    pub mirror_by_digest_only: bool,
    /// In the order in which they are asked.
    pub mirrors: Vec<Mirror>,
}

/// One `[[registry.mirror]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What the prefix is replaced by.
    pub location: String,
    /// Whether plain http and unverified certificates are allowed.
    pub insecure: bool,
    /// What it is asked for.
    pub used_for: MirrorUse,
}

/// `pull-from-mirror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorUse {
    /// Not said: digests first, tags only when the registry itself cannot be
    /// reached (D23: a mirror could answer a tag with other bytes).
    Unspecified,
    /// Tags and digests.
    All,
    /// Digests only.
    DigestOnly,
    /// Tags only.
    TagOnly,
}

/// Something in the files that is understood and has no meaning for kiln.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

/// Where settings are read. Files that are missing are empty.
#[derive(Clone, Debug, Default)]
pub struct SettingsSources {
    /// The main file, for instance `/etc/containers/registries.conf`.
    pub registries_conf: Option<PathBuf>,
    /// A directory of `*.conf` files that override it.
    pub registries_conf_directory: Option<PathBuf>,
    /// Directories with `HOST[:PORT]/{*.crt,*.cert,*.key}`.
    pub certificate_directories: Vec<PathBuf>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is there and cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is larger than any that a person writes.
    #[error("{path} is larger than {SETTINGS_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is not TOML, or holds a key that is not known.
    #[error("{path} is not a registries.conf of version 2: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A value that has no meaning.
    #[error("{path}: {key} of registry `{registry}`: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The prefix of the entry, or its number.
        registry: String,
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            certificate_directories: Vec::new(),
            loopback_is_plain: true,
            token_services: BTreeMap::new(),
        }
    }
}

impl RegistrySettings {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When a file is there and cannot be read or understood.
    pub fn load(sources: &SettingsSources) -> Result<(Self, Vec<Note>), SettingsError> {
        let mut notes = Vec::new();
        let mut rules: Vec<RegistryRule> = Vec::new();
        let mut files = Vec::new();
        files.extend(sources.registries_conf.clone());
        if let Some(directory) = &sources.registries_conf_directory {
            files.extend(drop_ins(directory)?);
        }
        for path in files {
            let Some(text) = read(&path)? else { continue };
            for rule in registries_conf::parse(&path, &text, &mut notes)? {
                // A later file replaces what an earlier one says about a prefix.
                rules.retain(|known| known.prefix != rule.prefix);
                rules.push(rule);
            }
        }
        let settings = Self {
            rules,
            certificate_directories: sources.certificate_directories.clone(),
            ..Self::default()
        };
        Ok((settings, notes))
    }

    /// The rule for `host[:port]/path`: the longest prefix that ends where a
    /// component, the tag or the port does.
    pub(crate) fn rule_for(&self, name: &str) -> Option<&RegistryRule> {
        self.rules
            .iter()
            .filter(|rule| prefix_bytes(&rule.prefix, name).is_some())
            .max_by_key(|rule| (!rule.prefix.starts_with("*."), rule.prefix.len()))
    }
}

impl RegistryRule {
    /// `name` with the prefix replaced by `location`.
    pub(crate) fn relocate(&self, name: &str, location: &str) -> String {
        match prefix_bytes(&self.prefix, name) {
            Some(bytes) => format!("{location}{}", &name[bytes..]),
            None => name.to_owned(),
        }
    }
}

/// How many bytes of `name` the prefix covers.
fn prefix_bytes(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next()?;
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        return (bare.ends_with(domain) && bare.len() > domain.len()).then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

/// The text of a file; `None` when it is missing.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    use std::io::Read;
    let fail = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut text = String::new();
    file.take(SETTINGS_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(SettingsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(Some(text))
}

/// The `*.conf` files of a directory in the order of their names.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let fail = |source| SettingsError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for entry in entries.take(DROP_INS_MAX) {
        let path = entry.map_err(fail)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
