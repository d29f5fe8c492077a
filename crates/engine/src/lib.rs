//! The hands: takes a request to build, asks the solver what is next, does it
//! with the store, the sandbox and the registry, and says what happened.
//!
//! It has no words for people: it emits [`Event`]s and returns a
//! [`BuildReport`] or a [`BuildError`], and the program renders them. It reads
//! no environment variable and has never heard of tag policies or CI systems.

mod annotations;
mod assemble;
mod attest;
mod blob_source;
mod build;
mod cache;
mod cache_mounts;
mod check;
mod contexts;
mod copy;
mod drive;
mod dry_run;
mod emulation;
mod error;
mod event;
mod export;
mod failure;
mod fetched;
mod footing;
mod foreign;
mod handover;
mod image_set;
mod input;
mod interrupt;
mod inventory;
mod layers;
mod layout;
mod lazy;
mod machine;
mod origins;
mod output;
mod overlay;
mod pin;
mod place;
mod plan;
mod ports;
mod provenance;
mod publishing;
mod push;
mod queue;
mod regular_file;
mod remote;
mod report;
mod request;
mod review;
mod run;
mod run_step;
mod schedule;
mod secret;
mod set;
mod source;
mod sources;
mod steps;
mod trace;
mod user_line;
mod users;

pub use annotations::{Annotated, Annotations};
pub use attest::{AttestationRequest, ProvenanceRequest, SbomRequest};
pub use build::{build, build_set};
pub use cache::{CacheMode, CacheRequest, CacheTarget};
pub use cache_mounts::{CacheMountsRequest, MountShelf, SCOPE_BYTES_MAX, Scope, ScopeError};
pub use check::{CheckReport, DockerfileText, check, check_set, read};
pub use dry_run::{
    DryRun, PlannedBase, PlannedFetch, PlannedImage, PlannedPush, PlannedStep, PlannedTag,
    TagPlace, dry_run, dry_run_set,
};
pub use emulation::{NotRunnable, runner_of};
pub use error::{BuildError, ErrorKind, FailedStep};
pub use event::{CachePlace, Direction, Event, Reporter, StepNumber, StepOutcome};
pub use handover::{HandoverError, answer_of, docker_answers, find_program, hand_over};
pub use interrupt::Interrupt;
pub use inventory::{CachedStep, cached_steps, inventory};
pub use layers::transfer;
pub use overlay::{Overlay, OverlayImage, OverlaySource};
pub use ports::{Ports, Post};
pub use provenance::layer_origins;
pub use publishing::{Publishing, Seals};
pub use push::{ImageName, PushReport, PushRequest, content, push};
pub use report::{
    BuildReport, BuiltImage, ImageReport, OutputReport, SetReport, StepReport, Traffic,
};
pub use request::{
    BaseMount, BuildRequest, ContextSource, Destination, DockerfileSource, Laziness, Output,
    SandboxChoice, Shape, Split,
};
pub use run::ssh::SshSource;
pub use secret::{SECRET_BYTES_MAX, SecretSource};
pub use set::{SetImage, SetRequest};
pub use trace::{
    Account, BaseFact, Cause, Change, Compared, ExplainError, Explanation, FileChange, Follower,
    Reason, StepName, WhichBuild, explain,
};
