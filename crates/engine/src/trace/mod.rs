//! Traces: what a build's steps were made from, kept so that the next build can say why it did
//! something again. A trace never decides anything: without one, or with one that is damaged, a
//! build does the same and says less.

mod align;
mod carry;
mod explanation;
mod files;
mod history;
mod part;
mod tracer;
mod why;

use serde::{Deserialize, Deserializer, Serialize};

pub use explanation::{
    BaseFact, Cause, Change, Compared, Explanation, FileChange, Follower, Reason, StepName,
};
pub use history::{Account, ExplainError, WhichBuild, explain};
pub(crate) use part::{Hiding, Part, Value};
pub(crate) use tracer::{Tracer, TracerOptions};

/// What a record of the cache says beside its layers: how they came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Made {
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// How long it took.
    pub seconds: f64,
    /// When it was done, in seconds since 1970.
    pub at: u64,
    /// What the key was made from.
    pub parts: Vec<Part>,
}

/// Reads what may be missing, or be written by a kiln that writes it in another way.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The steps of a build, of which every one may be compared with its like in a later build. Fields
/// that are missing are empty, and those of a later kiln nothing: it is read wherever it was
/// written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Trace {
    /// [`TRACE_FORMAT`].
    pub format: u32,
    /// When the build ended, in seconds since 1970.
    pub at: u64,
    /// How messages call the Dockerfile.
    pub dockerfile: String,
    /// Names of the build arguments that were given.
    pub arguments: Vec<String>,
    /// Whether it came to its end.
    pub complete: bool,
    /// In the order of the graph; steps that repeat earlier ones are left out.
    pub steps: Vec<TracedStep>,
}

impl Trace {
    /// Whether every step names only earlier ones, and so is no trap for who follows them.
    fn is_sound(&self) -> bool {
        let mut steps = self.steps.iter().enumerate();
        steps.all(|(place, step)| step.inputs.iter().all(|(_, input)| *input < place))
    }
}

/// Changes when a field comes to mean something else.
pub(crate) const TRACE_FORMAT: u32 = 1;

/// One step of a build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TracedStep {
    /// Its place in the graph.
    pub number: u32,
    /// The stage's name, or `stage-N`.
    pub stage: String,
    /// What it is for, where a build makes images for several platforms.
    pub platform: String,
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// The instruction as it was written, or the trigger; bounded.
    pub text: String,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// It is the trigger of an image.
    pub is_trigger: bool,
    /// For the image that a stage begins with.
    pub base: Option<BaseFact>,
    /// It was to be made whatever the cache has (`--no-cache`, `--no-cache-filter`).
    pub ignores_cache: bool,
    /// The definition key.
    pub key: String,
    /// What the key was made from.
    pub parts: Vec<Part>,
    /// The steps whose outputs it reads: the name of the part, and the place in the list.
    pub inputs: Vec<(String, usize)>,
    /// What its output is, by content; empty where it is not known.
    pub output: String,
    /// The list of the files that it takes from outside.
    pub files: Option<String>,
    /// What became of it.
    pub outcome: TracedOutcome,
    /// How long that took.
    pub seconds: f64,
    /// What was found under its keys.
    pub miss: Miss,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TracedOutcome {
    /// Its output was found, or that of a step above it.
    Cached,
    /// It needs no time: a base, or layers put together.
    Given,
    /// It was carried out.
    Ran,
    /// It was carried out and failed.
    Failed,
    /// The build ended before.
    #[default]
    #[serde(other)]
    Unfinished,
}

/// What the cache had of a step that was carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Miss {
    /// There is a record, and its layers are neither here nor anywhere that is known.
    NoLayers,
    /// There is no record.
    #[default]
    #[serde(other)]
    NoRecord,
}

impl TracedStep {
    /// Whether it is something that a build does, and not something that it begins with.
    fn is_work(&self) -> bool {
        self.outcome != TracedOutcome::Given
    }

    /// Whether it was carried out in this build.
    fn was_done(&self) -> bool {
        matches!(self.outcome, TracedOutcome::Ran | TracedOutcome::Failed)
    }

    /// Whether its output could be found by the next build.
    fn is_there(&self) -> bool {
        match self.outcome {
            TracedOutcome::Cached | TracedOutcome::Given | TracedOutcome::Ran => true,
            TracedOutcome::Failed | TracedOutcome::Unfinished => false,
        }
    }

    /// The parts that are its own: neither inputs nor files.
    fn own_parts(&self) -> impl Iterator<Item = &Part> {
        let is_input =
            |name: &str| name == "outside" || self.inputs.iter().any(|(role, _)| role == name);
        self.parts
            .iter()
            .filter(move |Part(name, _)| !is_input(name) && name != "inputs")
    }

    fn part(&self, wanted: &str) -> Option<&Value> {
        let found = self.parts.iter().find(|Part(name, _)| name == wanted);
        found.map(|Part(_, value)| value)
    }

    /// `RUN`, `COPY`, `FROM`.
    fn keyword(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }
}
