//! The plan: stages, steps, keys, and a solver that only decides.
//!
//! A tree of the `dockerfile` crate and a [`Request`] become a [`StageSet`] (only what the target
//! needs, with every image that must be looked up), that becomes a [`BuildGraph`] of [`Step`]s,
//! and a [`Solver`] says what to do next with it: take a fingerprint, ask the cache, run a step.
//! Doing it is for others: this crate touches no file, socket, clock, thread or runtime, and has
//! never heard of a layer's bytes. Rows such as A5 or C8 in comments are the rows of the dialect
//! checklist that the tests under `tests/graphs/` re-express.

mod assumed_base;
mod build_arguments;
mod check;
mod distinct;
mod forecast;
mod from_rules;
mod identity;
mod ignored;
mod image;
mod image_name;
mod key;
mod lower;
mod mount;
mod named_context;
mod outline;
mod paths;
mod platform;
mod request;
mod scope;
mod solver;
mod stage;
mod step;
mod trigger;

pub use check::{Checked, check};
pub use forecast::{Forecast, forecast};
pub use identity::{BASE_DIGEST, BASE_NAME, Identity};
pub use ignored::copies_of_ignored;
pub use image::{BaseImage, BaseLayer, HistoryEntry, TargetImage};
pub use image_name::{ImageName, LayoutImage};
pub use key::{CacheKey, KeyKind, KeyPart, KeyParts, PartValue};
pub use lower::{Lowered, lower, lower_onto};
pub use mount::{MountOwner, RunMount, RunMountKind, Sharing};
pub use outline::{Outline, OutlineArgument, OutlineMount, TargetLine, outline, targets};
pub use request::{BuiltImage, Entitlement, ExtraHost, NamedContext, Network, Request, Ulimit};
pub use solver::{Action, Output, Solver, SolverOptions, StepState};
pub use stage::{NamedImage, Pinned, StageSet, all_stages, stages};
pub use step::{
    BuildGraph, Chmod, ContextName, CopySource, CopyStep, FileSource, GitSource, ImageNumber,
    InlineFile, Origin, RunSecurity, RunStep, Step, StepId, StepKind, Unpack, UrlSource, Variable,
    WorkdirStep,
};
