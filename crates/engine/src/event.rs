//! What happens while a build runs, as it happens. Plain facts: no colours, no
//! sentences.

use std::time::Duration;

use oci::{Digest, Platform, Reference};
use serde::Serialize;

/// Which step an event is about: its place in the build graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct StepNumber(pub u32);

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A base image was looked up in its registry.
    Resolved {
        /// As the Dockerfile names it, defaults applied.
        reference: Reference,
        /// The manifest chosen for the platform.
        digest: Digest,
        /// That platform.
        #[serde(serialize_with = "shown")]
        platform: Platform,
    },
    /// The graph is known.
    Planned {
        /// Steps that the target needs, base images not counted.
        steps: usize,
    },
    /// A step is being executed (not sent for cached steps).
    StepStarted {
        /// Which.
        step: StepNumber,
        /// Such as `[build 2/5] RUN make`.
        title: String,
    },
    /// A step printed something.
    StepOutput {
        /// Which.
        step: StepNumber,
        /// Whole or partial lines, as they came.
        #[serde(serialize_with = "lossy")]
        bytes: Vec<u8>,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: StepNumber,
        /// Such as `[build 2/5] RUN make`.
        title: String,
        /// How.
        outcome: StepOutcome,
        /// Who knew the result, of a cached step.
        #[serde(skip_serializing_if = "Option::is_none")]
        cache: Option<CachePlace>,
        /// Wall time; zero for cached steps.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        duration: Duration,
    },
    /// Bytes of a blob moved. Sent at most ten times a second for each blob,
    /// and always at its end.
    Transfer {
        /// What it is: `debian:12 layer 1/3`, `layer sha256:…`.
        what: String,
        /// Which way.
        direction: Direction,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A destination has everything and its tag points at the image.
    Published {
        /// The tag.
        reference: Reference,
        /// What it points at.
        digest: Digest,
        /// It already did.
        unchanged: bool,
    },
    /// Something that the user should know and that does not stop the build.
    Warning {
        /// One sentence.
        message: String,
    },
    /// Something odd in the Dockerfile that does not stop the build. Like any warning, with its
    /// place.
    #[serde(rename = "warning")]
    Finding {
        /// One sentence.
        message: String,
        /// The name of the rule that is broken, if it is one.
        rule: Option<&'static str>,
        /// What to do about it.
        hint: Option<String>,
        /// How the Dockerfile is called.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// One line about what kiln does beside steps (`sandbox: root`, `exporting`).
    Note {
        /// One sentence.
        message: String,
    },
}

/// Who knew a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// The store.
    Local,
    /// A shared cache, by its address.
    Shared(String),
}

impl CachePlace {
    /// `local`, or the address.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Shared(address) => address,
        }
    }
}

impl Serialize for CachePlace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// Its result was found in the cache.
    Cached,
    /// It was executed.
    Ran,
    /// It was executed and failed.
    Failed,
    /// It was stopped because a sibling failed or the user interrupted.
    Cancelled,
}

/// Which way bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a registry.
    Down,
    /// To a registry.
    Up,
}

/// Hears events. Called from several threads; must not block for long.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event);
}

fn shown<S: serde::Serializer>(platform: &Platform, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(platform)
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
