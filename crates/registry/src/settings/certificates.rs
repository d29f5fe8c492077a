//! `certs.d`: certificates for single hosts (`containers-certs.d(5)`).

use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest certificate or key file that is read, in bytes.
const CERTIFICATE_BYTES_MAX: u64 = 1024 * 1024;
/// The most files that are read for one host.
const FILES_MAX: usize = 100;

/// What a directory says about one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostCertificates {
    /// Roots that are trusted for this host only, as PEM.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Certificate and key that we show, as PEM.
    pub(crate) identity: Option<Vec<u8>>,
}

/// Why the certificates of a host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or directory cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{path} is larger than {CERTIFICATE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A certificate to show without its key, or the reverse.
    #[error("{path} has no {missing} beside it: both are needed to log in by certificate")]
    HalfIdentity {
        /// The file that is there.
        path: PathBuf,
        /// The file that is not.
        missing: String,
    },
    /// A file that is not PEM, or holds nothing of use.
    #[error("{path} holds no usable certificate: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What the TLS library says.
        reason: String,
    },
}

/// The directory for `host[:port]`, in the first place that has one.
pub(crate) fn find_directory(places: &[PathBuf], host_and_port: &str) -> Option<PathBuf> {
    // Host and port were parsed; a name of dots must still not lead anywhere.
    if host_and_port.starts_with('.') || host_and_port.contains('/') {
        return None;
    }
    places
        .iter()
        .map(|place| place.join(host_and_port))
        .find(|directory| directory.is_dir())
}

impl HostCertificates {
    pub(crate) fn read(directory: &Path) -> Result<Self, CertificateError> {
        let fail = |source| CertificateError::Read {
            path: directory.to_owned(),
            source,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(fail)?.take(FILES_MAX) {
            files.push(entry.map_err(fail)?.path());
        }
        files.sort();
        let mut found = Self::default();
        for path in &files {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let (other, is_certificate) = match extension {
                Some("crt") => {
                    found.roots.push(read(path)?);
                    continue;
                }
                Some("cert") => (path.with_extension("key"), true),
                Some("key") => (path.with_extension("cert"), false),
                _ => continue,
            };
            if !files.contains(&other) {
                let missing = other.file_name().unwrap_or_default();
                return Err(CertificateError::HalfIdentity {
                    path: path.clone(),
                    missing: missing.to_string_lossy().into_owned(),
                });
            }
            if is_certificate && found.identity.is_none() {
                let mut pem = read(path)?;
                pem.push(b'\n');
                pem.extend(read(&other)?);
                found.identity = Some(pem);
            }
        }
        Ok(found)
    }
}

/// A whole PEM file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let fail = |source| CertificateError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(fail)?
        .take(CERTIFICATE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
