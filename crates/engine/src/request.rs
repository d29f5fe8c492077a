//! What is asked of a build, with every default applied.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dockerfile::remote::{GitAddress, HttpAddress};
use oci::{Compression, Platform, Reference};
pub use publish::sink::Destination;

use crate::annotations::Annotations;
use crate::attest::AttestationRequest;
use crate::cache::CacheRequest;
use crate::cache_mounts::CacheMountsRequest;
use crate::error::BuildError;
use crate::publishing::Publishing;
use crate::run::ssh::SshSource;
use crate::secret::SecretSource;

/// A build, fully described.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where the Dockerfile comes from.
    pub dockerfile: DockerfileSource,
    /// Where COPY and ADD take files from.
    pub context: ContextSource,
    /// The files of contexts that have a name, by that name. Those that no step needs are not
    /// looked at.
    pub named_contexts: BTreeMap<String, ContextSource>,
    /// What the graph needs to know: target, arguments, platform, labels,
    /// network.
    pub graph: graph::Request,
    /// One image, or several in an index.
    pub shape: Shape,
    /// The names of the image.
    pub tags: Vec<Reference>,
    /// Those of the names that are never moved to another digest in a registry; the others are.
    pub immutable_tags: BTreeSet<Reference>,
    /// How the image is published, where it goes to registries.
    pub publishing: Publishing,
    /// Annotations of what is made.
    pub annotations: Annotations,
    /// What is to be said of the images, beside them.
    pub attestations: AttestationRequest,
    /// What is to be made of the image. Empty keeps it in the store only.
    pub outputs: Vec<Output>,
    /// Ask the registry for base images even where the store knows them by
    /// digest.
    pub pull: bool,
    /// Look nothing up in the cache; what is made is still recorded.
    pub no_cache: bool,
    /// The caches that other machines share.
    pub cache: CacheRequest,
    /// The time that everything made by this build has, in seconds since 1970:
    /// `SOURCE_DATE_EPOCH`, or 0.
    pub epoch_seconds: i64,
    /// How layers are compressed.
    pub compression: Compression,
    /// Its level ([`store::layer::levels`]); `None` is the default of the compression.
    pub compression_level: Option<i32>,
    /// Where RUN runs.
    pub sandbox: SandboxChoice,
    /// A directory that is searched for emulators before `PATH` is.
    pub emulator_directory: Option<PathBuf>,
    /// `--secret`, by id: those of [`BuildRequest::graph`].
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`, by id: those of [`BuildRequest::graph`].
    pub ssh: BTreeMap<String, SshSource>,
    /// Whether bases are read as they are needed.
    pub laziness: Laziness,
    /// The most bytes of disk that bases may take in this build.
    pub disk_budget_bytes: Option<u64>,
    /// Images whose files are in directories already.
    pub base_mounts: Vec<BaseMount>,
    /// What `RUN --mount=type=cache` finds, and where it is kept.
    pub cache_mounts: CacheMountsRequest,
    /// Threads for compression and hashing; also how many steps run at once.
    pub threads: usize,
}

/// The build argument that keeps `.git` of contexts that are repositories.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

impl BuildRequest {
    /// Whether contexts that are repositories come with `.git`.
    pub(crate) fn keeps_git_dir(&self) -> Result<bool, BuildError> {
        let argument = self.graph.build_args.get(KEEP_GIT_DIR);
        match argument.map_or("", String::as_str) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(BuildError::input(format!(
                "the build argument {KEEP_GIT_DIR} is `{other}`: expected `true` or `false`"
            ))),
        }
    }
}

/// Whether the base of a RUN is unpacked, or read as it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Laziness {
    /// What is likely to be faster.
    #[default]
    Auto,
    /// Read as it is needed wherever that can be done.
    Always,
    /// Unpacked.
    Never,
}

/// A base image that is mounted on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseMount {
    /// As FROM names it, or with the digest of its manifest.
    pub image: Reference,
    /// Where its files are: a directory.
    pub directory: PathBuf,
}

/// What a build comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A manifest, for the platform of [`BuildRequest::graph`].
    Image,
    /// An index with an image for each of these platforms, at least one and none twice; they
    /// count, and not the one of [`BuildRequest::graph`].
    Index(Vec<Platform>),
}

impl Shape {
    /// The platforms of an index; none for an image.
    pub fn platforms(&self) -> &[Platform] {
        match self {
            Self::Image => &[],
            Self::Index(platforms) => platforms,
        }
    }
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug)]
pub enum DockerfileSource {
    /// `Dockerfile` (or `dockerfile`) in the context.
    Default,
    /// A file.
    Path(PathBuf),
    /// A file of the context, which is not a directory of the user's.
    InContext(String),
    /// Behind an address.
    Http(HttpAddress),
    /// A text that was read elsewhere, such as stdin.
    Text {
        /// How messages call it.
        name: String,
        /// The bytes.
        text: Vec<u8>,
    },
}

/// Where COPY and ADD take files from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this machine. Only ever read.
    Directory(PathBuf),
    /// A tar archive in a file, in any of the wrappings that ADD knows.
    Archive(PathBuf),
    /// Whatever comes from stdin: an archive, or a Dockerfile alone.
    Stdin,
    /// A file behind an address: an archive, or a Dockerfile alone.
    Http(HttpAddress),
    /// A commit, or a directory of one.
    Git(GitAddress),
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
        /// How the files of several platforms are kept apart.
        split: Split,
    },
    /// The root file system of the target as files.
    Local {
        /// The directory; made when missing, added to when not.
        directory: PathBuf,
        /// How the files of several platforms are kept apart.
        split: Split,
    },
    /// Into podman or docker on this machine.
    Load,
}

impl Output {
    /// Whether it is printed.
    pub(crate) fn is_stdout(&self) -> bool {
        match self {
            Self::Oci { destination, .. }
            | Self::Docker { destination }
            | Self::Tar { destination, .. } => *destination == Destination::Stdout,
            Self::Registry | Self::Image | Self::Local { .. } | Self::Load => false,
        }
    }
}

/// Whether the files of a platform are in a directory of its own, such as `linux_arm64`
/// (`platform-split`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// Where an index is built.
    #[default]
    Automatic,
    /// Always.
    Always,
    /// Never; files of different platforms under one name must be the same.
    Never,
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
