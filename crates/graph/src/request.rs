//! What the user asked for, resolved: no defaults are left to be found, nothing ambient.

use std::collections::BTreeMap;

use oci::Platform;

/// Everything beside the Dockerfile that decides what is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stage to build, by name; the last one when absent (F12).
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// What the image is to run on.
    pub platform: Platform,
    /// Nobody asked for `platform`: an image on a base of another platform keeps that one (I13).
    pub platform_is_default: bool,
    /// What the build runs on.
    pub build_platform: Platform,
    /// `--label`: these win over the labels of the Dockerfile (I6).
    pub labels: BTreeMap<String, String>,
    /// The network of every RUN that does not name one.
    pub network: Network,
    /// `--add-host`, in order.
    pub extra_hosts: Vec<ExtraHost>,
}

impl Request {
    /// A request for the last stage of a Dockerfile, with nothing special about it.
    pub fn new(platform: Platform, build_platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            platform,
            platform_is_default: true,
            build_platform,
            labels: BTreeMap::new(),
            network: Network::Default,
            extra_hosts: Vec::new(),
        }
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
