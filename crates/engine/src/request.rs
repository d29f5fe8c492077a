//! What is asked of a build, with every default applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{Compression, Reference};

/// A build, fully described.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where the Dockerfile comes from.
    pub dockerfile: DockerfileSource,
    /// Where COPY and ADD take files from.
    pub context: ContextSource,
    /// What the graph needs to know: target, arguments, platform, labels,
    /// network.
    pub graph: graph::Request,
    /// The names of the image.
    pub tags: Vec<Reference>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// What is to be made of the image. Empty keeps it in the store only.
    pub outputs: Vec<Output>,
    /// Ask the registry for base images even where the store knows them by
    /// digest.
    pub pull: bool,
    /// Look nothing up in the cache; what is made is still recorded.
    pub no_cache: bool,
    /// The time that everything made by this build has, in seconds since 1970:
    /// `SOURCE_DATE_EPOCH`, or 0.
    pub epoch_seconds: i64,
    /// How layers are compressed.
    pub compression: Compression,
    /// Where RUN runs.
    pub sandbox: SandboxChoice,
    /// Threads for compression and hashing; also how many steps run at once.
    pub threads: usize,
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug)]
pub enum DockerfileSource {
    /// `Dockerfile` (or `dockerfile`) in the context.
    Default,
    /// A file.
    Path(PathBuf),
    /// A text that was read elsewhere, such as stdin.
    Text {
        /// How messages call it.
        name: String,
        /// The bytes.
        text: Vec<u8>,
    },
}

/// Where COPY and ADD take files from.
#[derive(Clone, Debug)]
pub enum ContextSource {
    /// A directory of this machine. Only ever read.
    Directory(PathBuf),
    /// Nothing: a Dockerfile alone.
    Empty,
}

/// One thing to make of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Push it under its tags.
    Registry,
    /// Keep it in the store under its tags.
    Image,
    /// An OCI image layout, as a tar archive, or as a directory when `tar` is
    /// false.
    Oci {
        /// Where to.
        destination: Destination,
        /// One archive.
        tar: bool,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where to.
        destination: Destination,
    },
    /// The root file system of the target as a tar archive.
    Tar {
        /// Where to.
        destination: Destination,
    },
    /// The root file system of the target as files.
    Local {
        /// The directory; made when missing, added to when not.
        directory: PathBuf,
    },
    /// Into podman or docker on this machine.
    Load,
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, made or replaced by rename.
    File(PathBuf),
    /// The standard output.
    Stdout,
}

/// Where RUN runs (DESIGN: the ladder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxChoice {
    /// The best that works.
    Auto,
    /// Namespaces made by root.
    Root,
    /// A user namespace with subordinate ids.
    UserNamespace,
}
