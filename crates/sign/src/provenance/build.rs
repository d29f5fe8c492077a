//! What a provenance says of a build, before it is written.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest};
use serde_json::Value;

/// How much a provenance says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProvenanceMode {
    /// What went in, and by whom. No values of build arguments, no names of secrets.
    Min,
    /// And the arguments, the Dockerfile and every step.
    #[default]
    Max,
}

/// A build of an image for one platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildFacts {
    /// Who built, as an address; kiln itself where nobody is named.
    pub builder_id: Option<String>,
    /// The version of kiln.
    pub kiln_version: String,
    /// What it ran on, such as `linux/amd64`.
    pub builder_platform: String,
    /// Where the Dockerfile was.
    pub config_source: ConfigSource,
    /// Its text.
    pub dockerfile: String,
    /// Directories of the builder's machine that files came from: `context`, `dockerfile`, and the
    /// names of named contexts. No paths.
    pub locals: Vec<String>,
    /// What was asked for and is no secret in any mode: target, platform, network.
    pub options: BTreeMap<String, String>,
    /// Build arguments.
    pub build_arguments: BTreeMap<String, String>,
    /// Labels that were asked for beside those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Secrets that steps asked for: never their values.
    pub secrets: Vec<SecretUse>,
    /// Agents that steps asked for.
    pub ssh: Vec<SecretUse>,
    /// What came from elsewhere, by digest, in any order.
    pub materials: Vec<Material>,
    /// Whether that is all there is.
    pub materials_are_complete: bool,
    /// The steps that the image needed, in order.
    pub steps: Vec<StepFacts>,
    /// The layers of the image, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Facts of version control that nobody has checked.
    pub vcs: BTreeMap<String, String>,
    /// No command could reach the network.
    pub hermetic: bool,
    /// The user says that the same build gives the same bytes.
    pub reproducible: bool,
    /// What this build is called.
    pub invocation_id: String,
    /// When it was, where that is to be said.
    pub times: Option<RunTimes>,
}

/// When a build was, RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTimes {
    /// Its begin.
    pub started: String,
    /// Its end.
    pub finished: String,
}

/// Where the Dockerfile came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSource {
    /// Its name.
    pub path: String,
    /// What it was in, where that was no directory of the builder's.
    pub remote: Option<Material>,
}

/// A secret or an agent that steps asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretUse {
    /// Its name.
    pub id: String,
    /// No step insists on it.
    pub optional: bool,
}

/// Something from elsewhere, by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// A package URL of an image, or an address without credentials.
    pub uri: String,
    /// `sha256`, or `sha1` and `gitCommit` for commits.
    pub algorithm: String,
    /// The digits.
    pub hex: String,
}

impl Material {
    /// Something with a digest.
    pub fn new(uri: impl Into<String>, digest: &Digest) -> Self {
        Self {
            uri: uri.into(),
            algorithm: digest.algorithm().name().to_owned(),
            hex: digest.hex().to_owned(),
        }
    }

    /// A commit: of SHA-1 or of SHA-256, by its digits.
    pub fn commit(uri: impl Into<String>, id: &str) -> Self {
        let algorithm = if id.len() == 64 { "sha256" } else { "sha1" };
        Self {
            uri: uri.into(),
            algorithm: algorithm.to_owned(),
            hex: id.to_owned(),
        }
    }
}

/// A step of a build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepFacts {
    /// Such as `step3`.
    pub id: String,
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// The stage that it is in.
    pub stage: String,
    /// The steps that it takes files from.
    pub inputs: Vec<String>,
    /// What it did.
    pub operation: Value,
    /// Its line in the Dockerfile, from 1.
    pub line: Option<usize>,
}
