//! The form of `kiln.yaml`. Keys are in kebab case; a key that is not here is an error.

use std::collections::BTreeMap;

use policy::{DirtyPolicy, TagPolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The variant that every image has unless its declaration says otherwise: the image as it is built.
pub const PLAIN: &str = "plain";

/// Everything that one file declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Project {
    /// The registry that images go to, with a path if it has one: `registry.example/team`.
    pub registry: Option<String>,
    /// A path below the registry.
    pub prefix: Option<String>,
    /// Which tags images get.
    pub tags: TagRules,
    /// Labels of all images.
    pub labels: BTreeMap<String, String>,
    /// The account at Google, where no file or machine says it.
    pub google: Option<GoogleAccount>,
    /// The images, by name.
    pub images: BTreeMap<String, ImageDeclaration>,
    /// The ways in which images are made, by name; `plain` is always there.
    pub variants: BTreeMap<String, Variant>,
    /// How images are named in channels.
    pub channel_layout: ChannelLayout,
    /// Channels with rules of their own, by name.
    pub channels: BTreeMap<String, Channel>,
    /// Where `kiln build --push` sends images; without any, below `registry` and `prefix`.
    pub destinations: BTreeMap<String, DestinationDeclaration>,
    /// Who signs, by name.
    pub signers: BTreeMap<String, SignerDeclaration>,
    /// Whom to believe.
    pub verify: VerifyPolicy,
    /// Whose variables of the environment count too.
    pub compat: Option<Compatibility>,
}

/// Whose variables of the environment count, below those of kiln.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compatibility {
    /// `REGISTRY`, `REPOSITORY_PREFIX` and `CHANNEL`.
    Lattice,
    /// `PROJECT_ID`, `REGION`, `AR_REPO_NAME`, `IMAGE_REPO`, `IMAGE_TAG` and `EXTRA_TAG`.
    Epp,
}

/// Which tags images get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TagRules {
    /// Tags that never move.
    pub policy: Vec<TagPolicy>,
    /// Which tags of the repository `git-describe` counts from, such as `v[0-9]*`.
    pub describe_match: Option<String>,
    /// Tags that are moved last; `{branch}`, `{version}` and `{date}` are replaced.
    pub floating: Vec<String>,
    /// What a working tree with changes means.
    pub dirty: DirtyPolicy,
    /// Whether `latest` may be among the floating tags.
    pub allow_latest: bool,
}

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageDeclaration {
    /// Its path below registry and prefix [default: its name].
    pub path: Option<String>,
    /// A group, for `--group`.
    pub group: Option<String>,
    /// What COPY takes files from, relative to the file [default: `.`].
    pub context: Option<String>,
    /// The Dockerfile, relative to the context [default: `Dockerfile`].
    pub file: Option<String>,
    /// The stage [default: the last].
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// What it runs on [default: this machine].
    pub platforms: Vec<String>,
    /// Images that are built before this one; its FROM and `--from` may name them.
    pub needs: Vec<String>,
    /// Its variants [default: `plain`].
    pub variants: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where Helm values have it, for `kiln emit helm`.
    pub helm: Option<HelmValues>,
}

/// Where Helm values have an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HelmValues {
    /// Such as `inferenceExtension.image`.
    pub path: String,
    /// What lies there.
    pub shape: HelmShape,
}

/// The keys that a chart has for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HelmShape {
    /// `hub`, `name` and `tag`.
    HubNameTag,
    /// `registry`, `repository` and `tag`.
    RegistryRepositoryTag,
    /// `repository` and `tag`.
    RepositoryTag,
    /// `repository` and `digest`.
    RepositoryDigest,
}

/// A way in which images are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Variant {
    /// An image whose files become one layer on top of the finished image, pinned by digest.
    pub overlay: Option<String>,
    /// Which directories of the overlay go where: `/bin: /busybox`.
    pub overlay_paths: BTreeMap<String, String>,
    /// A directory that is added to the end of PATH.
    pub path_suffix: Option<String>,
    /// The stage to build instead.
    pub target: Option<String>,
    /// Build arguments on top of the image's.
    pub args: BTreeMap<String, String>,
    /// Other images in the place of base images.
    pub base_overrides: BTreeMap<String, String>,
}

/// How images are named in channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ChannelLayout {
    /// `{registry}`, `{prefix}`, `{channel}`, `{variant}` and `{image}` are replaced; `{variant}` is
    /// nothing for `plain`, and what stands around it collapses.
    pub repository: String,
    /// The channel that is meant when none is named: `{user}` is replaced.
    pub default: String,
    /// The tag that a channel moves.
    pub tag: String,
}

/// A channel with rules of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Channel {
    /// Whether its rules must hold.
    pub protected: bool,
    /// The rules: `clean`, `branch:PATTERN`, `all-images`, `ci`, `signed`, `not-older`,
    /// `identity:WHO`, `tests:COMMAND`.
    pub require: Vec<String>,
    /// Another registry.
    pub registry: Option<String>,
    /// Another prefix.
    pub prefix: Option<String>,
}

/// Where images are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DestinationDeclaration {
    /// The registry, with a path if it has one.
    pub registry: Option<String>,
    /// A path below it.
    pub prefix: Option<String>,
    /// Signers, by name, that must seal what goes there.
    pub sign: Vec<String>,
}

/// The account at Google.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GoogleAccount {
    /// The project.
    pub project: Option<String>,
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
    pub workload_identity_provider: Option<String>,
    /// The account to act as.
    pub service_account: Option<String>,
}

/// A signer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SignerDeclaration {
    /// What it makes.
    pub kind: SignerKind,
    /// The private key: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub key: Option<String>,
    /// The passphrase of the key: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub passphrase: Option<String>,
    /// The chain of certificates, the signer's first: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub certificates: Option<String>,
    /// How Notary signatures are written [default: `jws`].
    #[serde(default)]
    pub envelope: Option<SignatureEnvelope>,
    /// A timestamp authority (RFC 3161).
    #[serde(default)]
    pub timestamp: Option<String>,
    /// Its roots: a file of PEM certificates.
    #[serde(default)]
    pub timestamp_roots: Option<String>,
    /// The address of a signing service.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The secret of a signing service: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub secret: Option<String>,
}

/// What a signer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignerKind {
    /// Notary Project signatures.
    Notation,
    /// Cosign signatures with a key.
    Cosign,
    /// A signing service that keeps the signatures.
    Signify,
}

/// How a Notary signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureEnvelope {
    /// JSON Web Signature.
    Jws,
    /// CBOR Object Signing and Encryption.
    Cose,
}

/// Whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct VerifyPolicy {
    /// Roots of Notary signatures: files of PEM certificates.
    pub roots: Vec<String>,
    /// Identities that Notary signatures must be of: `x509.subject: CN=…`.
    pub identities: Vec<String>,
    /// Roots of timestamp authorities: files of PEM certificates.
    pub timestamp_roots: Vec<String>,
    /// Public keys of cosign signatures: files.
    pub keys: Vec<String>,
}

impl Default for TagRules {
    fn default() -> Self {
        Self {
            policy: vec![TagPolicy::GitSha],
            describe_match: None,
            floating: Vec::new(),
            dirty: DirtyPolicy::default(),
            allow_latest: false,
        }
    }
}

impl Default for ChannelLayout {
    fn default() -> Self {
        Self {
            repository: "{registry}/{prefix}/{channel}/{variant}/{image}".to_owned(),
            default: "{user}".to_owned(),
            tag: "latest".to_owned(),
        }
    }
}
