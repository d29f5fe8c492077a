//! What the user asked for, resolved: no defaults are left to be found, nothing ambient.

use std::collections::{BTreeMap, BTreeSet};

use oci::Platform;

use crate::{Identity, ImageName, ImageNumber, TargetImage};

/// Everything beside the Dockerfile that decides what is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stage to build, by name; the last one when absent (F12).
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// Values for arguments that the Dockerfile declares and nobody gives, such as the commit. They
    /// win over its defaults, and nothing is said where nothing declares them.
    pub offered_args: BTreeMap<String, String>,
    /// What the image is to run on.
    pub platform: Platform,
    /// Nobody asked for `platform`: an image on a base of another platform keeps that one (I13).
    pub platform_is_default: bool,
    /// The image is one of several: titles of steps say which platform they are for.
    pub one_of_several: bool,
    /// Its place among the images that are built together.
    pub image: ImageNumber,
    /// How titles of steps call it; nothing where it is built alone.
    pub image_shown: Option<String>,
    /// What the build runs on.
    pub build_platform: Platform,
    /// `--label`: these win over the labels of the Dockerfile (I6).
    pub labels: BTreeMap<String, String>,
    /// What the image is to say of its sources and of its base.
    pub identity: Option<Identity>,
    /// The network of every RUN that does not name one.
    pub network: Network,
    /// `--add-host`, in order.
    pub extra_hosts: Vec<ExtraHost>,
    /// `--build-context`, by name in lower case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--no-cache-filter`: stages that are built anew.
    pub no_cache_stages: BTreeSet<String>,
    /// `--allow`.
    pub allowed: BTreeSet<Entitlement>,
    /// The ids of `--secret`.
    pub secrets: BTreeSet<String>,
    /// The ids of `--ssh`.
    pub ssh: BTreeSet<String>,
    /// `--shm-size`, in bytes.
    pub shm_bytes: Option<u64>,
    /// `--ulimit`, each name once.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// Whether commands will run. Where the file is only looked at, what a command needs, such as
    /// a required secret or an entitlement, need not be given.
    pub runs: bool,
}

impl Request {
    /// A request for the last stage of a Dockerfile, with nothing special about it.
    pub fn new(platform: Platform, build_platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            offered_args: BTreeMap::new(),
            platform,
            platform_is_default: true,
            one_of_several: false,
            image: ImageNumber::default(),
            image_shown: None,
            build_platform,
            labels: BTreeMap::new(),
            identity: None,
            network: Network::Default,
            extra_hosts: Vec::new(),
            contexts: BTreeMap::new(),
            no_cache_stages: BTreeSet::new(),
            allowed: BTreeSet::new(),
            secrets: BTreeSet::new(),
            ssh: BTreeSet::new(),
            shm_bytes: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
            runs: true,
        }
    }

    /// The value of a declared argument, if it has one besides the Dockerfile's own.
    pub fn argument(&self, name: &str) -> Option<&String> {
        let given = self.build_args.get(name);
        given.or_else(|| self.offered_args.get(name))
    }
}

/// What a RUN can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// Whatever the executor gives to a step.
    Default,
    /// Its own loopback and nothing else (R12).
    None,
    /// What the host can reach, by the host's own interfaces.
    Host,
}

impl Network {
    /// The word as it stands behind `--network=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

/// A line for `/etc/hosts` of every RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name. Part of a step's key.
    pub name: String,
    /// Its address. Not part of a step's key (R18).
    pub address: String,
}

/// What a name given with `--build-context` stands for (F7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// Files of a directory, an archive or a repository: whoever builds has them.
    Files,
    /// An image.
    Image(ImageName),
    /// An image that the same build makes.
    Built(BuiltImage),
}

/// An image of the same build, on which another one builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// How people call it.
    pub name: String,
    /// What it is made of on each of its platforms: targets of the graph that is added to.
    pub targets: Vec<(Platform, TargetImage)>,
}

impl BuiltImage {
    /// What it is made of on a platform, or on one whose programs run there.
    pub fn target(&self, wanted: &Platform) -> Option<&TargetImage> {
        let equal = self.targets.iter().find(|(platform, _)| platform == wanted);
        let fit = || {
            let mut targets = self.targets.iter();
            targets.find(|(platform, _)| wanted.accepts(platform).is_some())
        };
        equal.or_else(fit).map(|(_, target)| target)
    }
}

impl NamedContext {
    /// A name as it is compared: without regard to case, as those of stages, but for the tag of an
    /// image, where `a:Tag` and `a:tag` are two.
    pub fn key(name: &str) -> String {
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => {
                format!("{}:{tag}", repository.to_ascii_lowercase())
            }
            Some(_) | None => name.to_ascii_lowercase(),
        }
    }
}

/// Something that a Dockerfile may only do where the user allowed it (`--allow`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`. kiln's usual network is the host's, so nothing depends on it.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
}

/// A limit of a process (setrlimit(2)), for everything that RUN starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// As in `--ulimit`: `nofile`, `nproc`, …; one that setrlimit(2) has.
    pub name: String,
    /// In the unit of the limit; `u64::MAX` is no limit.
    pub soft: u64,
    /// Not below `soft`.
    pub hard: u64,
}
