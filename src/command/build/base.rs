//! What `kiln build` is told about base images: whether they are unpacked, how much disk they may
//! take, and where they are already.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dockerfile::size;
use engine::{BaseMount, BuildRequest, Laziness};

use crate::error::ProgramError;

/// The flags.
#[derive(Args, Debug)]
pub(crate) struct BaseFlags {
    /// Whether RUN reads its base from the registry as it needs it, instead of unpacking it
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    lazy: LazyMode,

    /// The most disk that bases may take in this build, such as 500m [default: what is free]
    #[arg(long, value_name = "BYTES")]
    disk_budget: Option<String>,

    /// Directory with the files of a base image, such as an image volume of Kubernetes, can be
    /// repeated; it is only read
    #[arg(long = "base-mount", value_name = "IMAGE=DIRECTORY")]
    base_mounts: Vec<String>,
}

/// Whether bases are read as they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LazyMode {
    /// Large ones, where it is known how
    Auto,
    /// Wherever it can be done
    Always,
    /// They are unpacked
    Never,
}

impl BaseFlags {
    /// Puts all of it into a request.
    pub(super) fn apply(&self, request: &mut BuildRequest) -> Result<(), ProgramError> {
        request.laziness = match self.lazy {
            LazyMode::Auto => Laziness::Auto,
            LazyMode::Always => Laziness::Always,
            LazyMode::Never => Laziness::Never,
        };
        request.disk_budget_bytes = self.disk_budget.as_deref().map(budget).transpose()?;
        for text in &self.base_mounts {
            let mount = base_mount(text)?;
            if request
                .base_mounts
                .iter()
                .any(|known| known.image == mount.image)
            {
                return Err(ProgramError::input(format!(
                    "--base-mount {text}: there are two directories for this image"
                )));
            }
            request.base_mounts.push(mount);
        }
        Ok(())
    }
}

fn budget(text: &str) -> Result<u64, ProgramError> {
    size::parse(text).map_err(|error| ProgramError::input(format!("--disk-budget {text}: {error}")))
}

fn base_mount(text: &str) -> Result<BaseMount, ProgramError> {
    let wrong = |reason: &str| ProgramError::input(format!("--base-mount {text}: {reason}"));
    // An image name has no `=`.
    let Some((image, directory)) = text.split_once('=') else {
        return Err(wrong("expected IMAGE=DIRECTORY"));
    };
    let directory = Path::new(directory);
    if !directory.is_dir() {
        let reason = format!("{} is not a directory", directory.display());
        return Err(wrong(&reason));
    }
    Ok(BaseMount {
        image: image
            .parse()
            .map_err(|error: oci::ReferenceError| wrong(&error.to_string()))?,
        directory: absolute(directory),
    })
}

/// The sandbox's own processes have another working directory.
fn absolute(directory: &Path) -> PathBuf {
    directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned())
}
