//! Cache keys: what a step's result depends on, and nothing else.
//!
//! A key is the hash of a list of named parts, and the list is kept, so that two keys that differ
//! can be compared part by part: a miss can say which argument, variable or file made it one. The
//! *definition key* of a step is made from its operation, the definition keys of its inputs and
//! the fingerprints of the context files that it copies. The *content key* has the content of the
//! inputs in place of how they were made.
//!
//! | step | in the key | named, but not in the key |
//! |---|---|---|
//! | any | format version, the caller's salt, the kind of key | title, stage, span, origin (R19) |
//! | base | the diff ids of its layers | reference, manifest, configuration: what of it matters to a step is in that step (its variables, user, directory), and the target's configuration is never cached |
//! | RUN | argv with SHELL, environment in order, directory, user, platform, network, security, names of extra hosts, inline files, mounts, limits, control group, host name (R18) | proxy variables (A8), addresses of extra hosts, the command as shown, values of secrets |
//! | COPY, ADD | for each source its kind and pattern, or its name and content; destination, its trailing slash, owner, mode, unpacking, exclusions; fingerprints of the files (C21) | spans, ids of steps, what is at an address before it is fingerprinted |
//! | WORKDIR | path, user | |
//! | merge | nothing of its own: its inputs say it all | |
//!
//! Comments, line breaks outside arguments, the case of keywords and the names of stages are gone
//! before there is a step. Every text is hashed behind its length and every part behind its name
//! (kaniko issue 1688 and moby CVE-2024-24557 show what keys without either lead to).

use std::fmt;

use dockerfile::Spanned;
use dockerfile::chown::{Identity, Owner};
use oci::{Digest, Hasher};

use crate::{
    BaseImage, BaseLayer, Chmod, ContextName, CopySource, CopyStep, ExtraHost, FileSource,
    GitSource, InlineFile, MountOwner, RunMount, RunMountKind, RunStep, Sharing, StepKind, Ulimit,
    UrlSource, Variable, WorkdirStep,
};

/// Changes whenever the same parts come to mean another result, or are hashed in another way.
const KEY_FORMAT: &str = "kiln step key 2";

/// The longest text that a part keeps as it is, in bytes; of a longer one it keeps the digest.
const PART_TEXT_BYTES_MAX: usize = 256;

/// The name of what a step results in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// The hash.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.short())
    }
}

/// What a key says of a step's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// How they are made. Known before anything runs.
    Definition,
    /// What they contain. Known once they exist.
    Content,
}

impl KeyKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Content => "content",
        }
    }
}

/// What a key was made from, in the order in which it is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyParts(Vec<KeyPart>);

/// One thing that a key depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// What it is, such as `argument.2` or `env.PATH`. No two parts of a key have the same name.
    pub name: String,
    /// Its value.
    pub value: PartValue,
}

/// The value of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartValue {
    /// A text of at most 256 bytes.
    Text(String),
    /// A longer text.
    LongText {
        /// Its digest.
        digest: Digest,
        /// Its length.
        bytes: usize,
    },
    /// Something that has a digest of its own: a key, a fingerprint, a layer.
    Digest(Digest),
}

impl fmt::Display for PartValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::LongText { digest, bytes } => write!(formatter, "{digest} ({bytes} bytes)"),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

impl KeyParts {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyPart> {
        self.0.iter()
    }

    /// The key that they make.
    pub fn key(&self) -> CacheKey {
        let mut hasher = KeyHasher::new();
        hasher.number(self.0.len());
        for KeyPart { name, value } in &self.0 {
            hasher.bytes(name.as_bytes());
            match value {
                PartValue::Text(text) => {
                    hasher.tag(0);
                    hasher.bytes(text.as_bytes());
                }
                PartValue::LongText { digest, bytes } => {
                    hasher.tag(1);
                    hasher.number(*bytes);
                    hasher.bytes(digest.as_str().as_bytes());
                }
                PartValue::Digest(digest) => {
                    hasher.tag(2);
                    hasher.bytes(digest.as_str().as_bytes());
                }
            }
        }
        hasher.finish()
    }

    /// The parts that every key begins with.
    pub(crate) fn begin(kind: KeyKind, salt: &str) -> Self {
        let mut parts = Self::default();
        parts.text("salt", salt);
        parts.text("inputs", kind.name());
        parts
    }

    /// The parts of what a step does, without its inputs.
    pub(crate) fn of_operation(kind: &StepKind) -> Self {
        let mut parts = Self::default();
        kind.describe(&mut parts);
        parts
    }

    pub(crate) fn extend(&mut self, more: &Self) {
        self.0.extend_from_slice(&more.0);
    }

    pub(crate) fn digest(&mut self, name: impl Into<String>, digest: Digest) {
        self.push(name.into(), PartValue::Digest(digest));
    }

    fn text(&mut self, name: impl Into<String>, text: &str) {
        let value = if text.len() <= PART_TEXT_BYTES_MAX {
            PartValue::Text(text.to_owned())
        } else {
            PartValue::LongText {
                digest: Digest::of(text.as_bytes()),
                bytes: text.len(),
            }
        };
        self.push(name.into(), value);
    }

    fn push(&mut self, name: String, value: PartValue) {
        self.0.push(KeyPart { name, value });
    }
}

/// Hashes values so that no two different sequences of values hash the same bytes.
struct KeyHasher(Hasher);

impl KeyHasher {
    fn new() -> Self {
        let mut hasher = Self(Hasher::default());
        hasher.bytes(KEY_FORMAT.as_bytes());
        hasher
    }

    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn finish(self) -> CacheKey {
        CacheKey(self.0.finish())
    }
}

/// Names every part of a value that belongs in a key. Written by destructuring without `..`, so a
/// new field does not compile until it is here, or named and left out.
trait Describe {
    fn describe(&self, parts: &mut KeyParts);
}

impl Describe for StepKind {
    fn describe(&self, parts: &mut KeyParts) {
        match self {
            Self::Scratch => parts.text("operation", "scratch"),
            Self::Base(base) => base.describe(parts),
            Self::Run(run) => run.describe(parts),
            Self::Copy(copy) => copy.describe(parts),
            Self::Workdir(workdir) => workdir.describe(parts),
            Self::Merge(_) => parts.text("operation", "merge"),
        }
    }
}

impl Describe for BaseImage {
    fn describe(&self, parts: &mut KeyParts) {
        let Self {
            reference: _,
            manifest: _,
            config: _,
            layers,
        } = self;
        parts.text("operation", "base");
        parts.text("layers", &layers.len().to_string());
        for (index, BaseLayer { diff_id, blob: _ }) in layers.iter().enumerate() {
            parts.digest(format!("layer.{index}"), diff_id.0.clone());
        }
    }
}

impl Describe for RunStep {
    fn describe(&self, parts: &mut KeyParts) {
        let Self {
            argv,
            env,
            hidden_env: _,
            cwd,
            user,
            network,
            extra_hosts,
            files,
            platform,
            mounts,
            security,
            shm_bytes,
            ulimits,
            cgroup_parent,
            hostname,
            command_shown: _,
        } = self;
        parts.text("operation", "run");
        parts.text("arguments", &argv.len().to_string());
        for (index, argument) in argv.iter().enumerate() {
            parts.text(format!("argument.{index}"), argument);
        }
        for Variable { name, value } in env {
            parts.text(format!("env.{name}"), value);
        }
        parts.text("directory", cwd);
        parts.text("user", user);
        parts.text("platform", &platform.to_string());
        parts.text("network", network.name());
        for (index, ExtraHost { name, address: _ }) in extra_hosts.iter().enumerate() {
            parts.text(format!("extra-host.{index}"), name);
        }
        for (index, InlineFile { name, content }) in files.iter().enumerate() {
            parts.text(format!("file.{index}.name"), name);
            parts.text(format!("file.{index}.content"), content);
        }
        for (index, RunMount { kind, span: _ }) in mounts.iter().enumerate() {
            describe_mount(index, kind, parts);
        }
        parts.text("security", security.name());
        if let Some(bytes) = shm_bytes {
            parts.text("shm-bytes", &bytes.to_string());
        }
        for Ulimit { name, soft, hard } in ulimits {
            parts.text(format!("ulimit.{name}"), &format!("{soft}:{hard}"));
        }
        if let Some(parent) = cgroup_parent {
            parts.text("cgroup-parent", parent);
        }
        if let Some(name) = hostname {
            parts.text("hostname", name);
        }
    }
}

/// What a mount brings along is fingerprinted, or is no part of the key at all: the content of
/// caches, secrets and agents. Where it is mounted, the command can see.
fn describe_mount(index: usize, kind: &RunMountKind, parts: &mut KeyParts) {
    let mut part = |name: &str, value: &str| parts.text(format!("mount.{index}.{name}"), value);
    match kind {
        RunMountKind::Bind {
            target,
            from,
            path,
            writable,
        } => {
            part("bind", target);
            part("from", source_kind(from));
            part("path", path);
            part("writable", yes_or_no(*writable));
        }
        RunMountKind::Cache {
            target,
            id,
            sharing,
            seed,
            owner,
            read_only,
        } => {
            part("cache", target);
            // As many builds leave the id out, it is the target itself that is the usual one.
            if id.trim_matches('/') != target.trim_matches('/') {
                part("id", id);
            }
            if *sharing != Sharing::Shared {
                part("sharing", sharing.name());
            }
            if let Some((from, path)) = seed {
                part("from", source_kind(from));
                part("path", path);
            }
            part("owner", &owner_text(*owner));
            part("read-only", yes_or_no(*read_only));
        }
        RunMountKind::Tmpfs { target, bytes_max } => {
            part("tmpfs", target);
            if let Some(bytes) = bytes_max {
                part("bytes", &bytes.to_string());
            }
        }
        RunMountKind::Secret {
            id,
            target,
            variable,
            owner,
            required,
        } => {
            part("secret", id);
            part("target", target.as_deref().unwrap_or(""));
            part("variable", variable.as_deref().unwrap_or(""));
            part("owner", &owner_text(*owner));
            part("required", yes_or_no(*required));
        }
        RunMountKind::Ssh {
            id,
            target,
            owner,
            required,
        } => {
            part("ssh", id);
            part("target", target.as_deref().unwrap_or(""));
            part("owner", &owner_text(*owner));
            part("required", yes_or_no(*required));
        }
    }
}

fn owner_text(owner: MountOwner) -> String {
    let MountOwner { mode, uid, gid } = owner;
    format!("{mode:o} {uid}:{gid}")
}

/// Which step or which files it is stands with the inputs, as a key or as a fingerprint.
fn source_kind(from: &FileSource) -> &'static str {
    match from {
        FileSource::Context(ContextName::Main(_)) => "context",
        FileSource::Context(ContextName::Named(..)) => "named-context",
        FileSource::Step(_) => "step",
    }
}

impl Describe for CopyStep {
    fn describe(&self, parts: &mut KeyParts) {
        let Self {
            sources,
            destination,
            destination_is_directory,
            chown,
            chmod,
            unpack,
            parents,
            excludes,
        } = self;
        parts.text("operation", "copy");
        parts.text("sources", &sources.len().to_string());
        for (index, source) in sources.iter().enumerate() {
            match source {
                CopySource::Files {
                    from,
                    pattern,
                    pivot,
                    span: _,
                } => {
                    parts.text(format!("source.{index}.from"), source_kind(from));
                    parts.text(format!("source.{index}.path"), pattern);
                    if *parents {
                        parts.text(format!("source.{index}.pivot"), &pivot.to_string());
                    }
                }
                // The fingerprint is the content.
                CopySource::Url(UrlSource {
                    url: _,
                    file_name,
                    checksum: _,
                    span: _,
                }) => parts.text(format!("source.{index}.url"), file_name),
                // The fingerprint is the commit.
                CopySource::Git(GitSource {
                    repository,
                    reference: _,
                    subdirectory,
                    submodules,
                    keep_git_dir,
                    checksum: _,
                    span: _,
                }) => {
                    parts.text(format!("source.{index}.git"), subdirectory);
                    parts.text(format!("source.{index}.submodules"), yes_or_no(*submodules));
                    parts.text(
                        format!("source.{index}.keep-git-dir"),
                        yes_or_no(*keep_git_dir),
                    );
                    if *keep_git_dir {
                        // It remembers where it is from.
                        let repository = dockerfile::remote::without_credentials(repository);
                        parts.text(format!("source.{index}.repository"), &repository);
                    }
                }
                CopySource::Inline(InlineFile { name, content }) => {
                    parts.text(format!("source.{index}.name"), name);
                    parts.text(format!("source.{index}.content"), content);
                }
            }
        }
        parts.text("destination", destination);
        parts.text(
            "destination-is-directory",
            yes_or_no(*destination_is_directory),
        );
        if let Some(Spanned {
            value: Owner { user, group },
            span: _,
        }) = chown
        {
            describe_identity("user", user, parts);
            if let Some(group) = group {
                describe_identity("group", group, parts);
            }
        }
        if let Some(Chmod { text, change: _ }) = chmod {
            parts.text("mode", text);
        }
        parts.text("unpack", unpack.name());
        parts.text("parents", yes_or_no(*parents));
        for (index, pattern) in excludes.iter().enumerate() {
            parts.text(format!("exclude.{index}"), pattern);
        }
    }
}

impl Describe for WorkdirStep {
    fn describe(&self, parts: &mut KeyParts) {
        let Self { path, user } = self;
        parts.text("operation", "workdir");
        parts.text("path", path);
        parts.text("user", user);
    }
}

fn describe_identity(of: &str, identity: &Identity, parts: &mut KeyParts) {
    match identity {
        Identity::Id(id) => parts.text(format!("owner.{of}-id"), &id.to_string()),
        Identity::Name(name) => parts.text(format!("owner.{of}-name"), name),
    }
}

fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
