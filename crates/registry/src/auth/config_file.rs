//! Docker's `config.json` and podman's `auth.json`.

use std::path::PathBuf;

/// Why a configuration file cannot be used. Never holds a value of the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It is there and cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
