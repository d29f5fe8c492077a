//! Why a build did again what an earlier one had done: plain facts, for renderers and for the next
//! reader of the store.

use serde::{Deserialize, Serialize};

/// Why the steps of a build were carried out, grouped by what caused it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The earlier build that this one was compared with; nothing when none is known.
    pub compared: Option<Compared>,
    /// In the order of the steps that they begin with. Empty when nothing was carried out.
    pub causes: Vec<Cause>,
    /// The time of all steps that were carried out.
    pub seconds: f64,
}

impl Explanation {
    /// Why a step was carried out: the place of the cause in the list.
    pub(crate) fn cause_of(&self, step: u32) -> Option<usize> {
        self.causes.iter().position(|cause| {
            let own = cause.step.as_ref().filter(|_| cause.ran);
            let followers = cause.followers.iter().map(|follower| &follower.name);
            own.into_iter()
                .chain(followers)
                .any(|name| name.step == step)
        })
    }
}

/// An earlier build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compared {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// It was made in another place, such as another checkout or another machine.
    pub elsewhere: bool,
    /// It came to its end.
    pub complete: bool,
}

/// A step, as messages name it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepName {
    /// Its place in the graph.
    pub step: u32,
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// How the Dockerfile is called.
    pub file: String,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// How long it took; zero when it was not carried out.
    pub seconds: f64,
}

/// One thing that is another than before, and what had to be done because of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Where it begins. What concerns all steps has none.
    pub step: Option<StepName>,
    /// What it is.
    pub reason: Reason,
    /// Whether the step itself was carried out: what a base is, or what was removed, was not.
    pub ran: bool,
    /// How many other things of the same step are others too.
    pub more: usize,
    /// The steps that were carried out because of it, the first one left out.
    pub followers: Vec<Follower>,
    /// The time of all of them.
    pub seconds: f64,
}

/// A step that was carried out because one of its inputs changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Follower {
    /// Which.
    pub name: StepName,
    /// The title of the input.
    pub input: String,
}

/// What is another than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No earlier build is known.
    NeverBuilt,
    /// Nothing was to be taken from the cache (`--no-cache`).
    NoCache,
    /// Nothing was to be taken from the cache for this stage (`--no-cache-filter`).
    NoCacheFilter {
        /// The stage.
        stage: String,
    },
    /// Files that it takes from outside.
    Files {
        /// The first of them.
        changes: Vec<FileChange>,
        /// How many there are.
        total: usize,
    },
    /// Files that it takes from outside, of which no list is at hand.
    UnlistedFiles {
        /// There are more files than are listed.
        too_many: bool,
    },
    /// A build argument that was given with `--build-arg`, now or before.
    BuildArgument {
        /// Its name, and its values.
        #[serde(flatten)]
        change: Change,
    },
    /// A variable of `ENV`, of `ARG` or of the base.
    Variable {
        /// Its name, and its values.
        #[serde(flatten)]
        change: Change,
    },
    /// Something else of the instruction that does not stand in its text.
    Setting {
        /// What it is, and what it was.
        #[serde(flatten)]
        change: Change,
    },
    /// How layers are made: their format, their compression, `SOURCE_DATE_EPOCH`.
    Layers {
        /// What it is, and what it was.
        #[serde(flatten)]
        change: Change,
    },
    /// The text of the instruction: the first lines of it that differ.
    Instruction {
        /// As it was.
        old: String,
        /// As it is.
        new: String,
        /// Where, from 1.
        line: usize,
    },
    /// A new instruction.
    Inserted,
    /// The instruction stood elsewhere.
    Moved {
        /// The line where it stood.
        old_line: usize,
    },
    /// An instruction in front of it is gone.
    Removed {
        /// Its text.
        text: String,
        /// The line where it stood.
        old_line: usize,
    },
    /// It stands on something else, or takes files from something else.
    Input {
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// The image that a stage begins with, or that files are taken from.
    Base {
        /// What it was.
        old: BaseFact,
        /// What it is.
        new: BaseFact,
        /// How many of the layers are the same, from the lowest on.
        same_layers: usize,
    },
    /// The build before ended before this was done.
    Unfinished {
        /// It failed there.
        failed: bool,
    },
    /// Nothing changed, but the cache has nothing of it any more, or never had.
    Forgotten,
    /// Nothing changed, but the layers of its record are gone.
    LayersGone,
    /// It was made by a kiln with other keys.
    OtherVersion,
}

/// A value that is another now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// What it is the value of.
    pub name: String,
    /// What it was; nothing when it is new. `****` when it is not to be seen.
    pub old: Option<String>,
    /// What it is; nothing when it is gone.
    pub new: Option<String>,
    /// The line that sets it, from 1, where that is known.
    pub line: Option<usize>,
}

/// A file that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum FileChange {
    /// It is new.
    Added {
        /// As in its context, or an address.
        path: String,
    },
    /// It is gone.
    Removed {
        /// As in its context, or an address.
        path: String,
    },
    /// It has other bytes.
    Content {
        /// As in its context, or an address.
        path: String,
        /// The first digits of the digest of what it was.
        old: String,
        /// The same of what it is.
        new: String,
    },
    /// It has other permissions.
    Mode {
        /// As in its context.
        path: String,
        /// What they were.
        old: u32,
        /// What they are.
        new: u32,
    },
    /// It belongs to somebody else.
    Owner {
        /// As in its context.
        path: String,
        /// `uid:gid`, as it was.
        old: String,
        /// `uid:gid`, as it is.
        new: String,
    },
    /// It is something else: a directory, a link.
    Kind {
        /// As in its context.
        path: String,
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// It is a link that leads elsewhere.
    Target {
        /// As in its context.
        path: String,
    },
}

/// An image that files are taken from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BaseFact {
    /// As the Dockerfile names it, with defaults applied.
    pub reference: String,
    /// The digest of the manifest.
    pub digest: String,
    /// How many layers it has.
    pub layers: usize,
}
