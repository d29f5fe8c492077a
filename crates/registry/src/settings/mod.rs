//! What is known about registries beforehand: mirrors, plain http, certificates.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Origin;

/// Settings for all registries. The default knows none: https for everybody,
/// plain http for loopback hosts.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// From `containers-registries.conf(5)`; the longest matching prefix wins.
    pub rules: Vec<RegistryRule>,
    /// `certs.d` directories; the first that has a directory for a host is used.
    pub certificate_directories: Vec<PathBuf>,
    /// Whether loopback hosts without certificates speak plain http, as docker has it.
    pub loopback_is_plain: bool,
    /// Token services beyond the registry's own domain that may see credentials
    /// (D02), by registry host.
    pub token_services: BTreeMap<String, Vec<Origin>>,
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

/// One `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryRule {
    /// `host[:port][/path]` or `*.domain`.
    pub prefix: String,
    /// What the prefix is replaced by.
    pub location: String,
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
    /// Directories with `HOST[:PORT]/{ca.crt,*.cert,*.key}`.
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
}

impl RegistrySettings {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When a file is there and cannot be read or understood.
    pub fn load(_sources: &SettingsSources) -> Result<(Self, Vec<Note>), SettingsError> {
        todo!()
    }
}
