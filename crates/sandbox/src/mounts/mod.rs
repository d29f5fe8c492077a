//! Building the root: everything is mounted by descriptor, in a mount namespace of its own.

mod additional;
mod attach;
mod injected;
mod overlay;
mod sources;
mod standard;
mod switch;
mod target;

use std::os::fd::OwnedFd;

pub(crate) use attach::clone_mount;
pub(crate) use attach::restrict;
pub(crate) use attach::{DATA_ONLY, new_file_system};
pub use sources::can_map_owners;
pub(crate) use sources::{Sources, disk_path};
pub(crate) use target::remove_created;

use crate::failure::{Doing, Failure};
use crate::order::Created;
use crate::process::Process;

/// Builds the root and makes it `/`. Returns what had to be created to mount on.
///
/// The current directory becomes the place that the workbench is attached on; nothing outside of
/// this mount namespace changes.
pub(crate) fn build_root(
    process: &Process,
    sources: Sources,
) -> Result<Vec<(Created, OwnedFd, OwnedFd)>, Failure> {
    let bench = overlay::workbench()?;
    let root = overlay::mount_root(process, &sources, &bench)?;
    let injected =
        injected::Injected::new(&bench).doing(|| "make a place for given files".to_owned())?;
    let mut targets = target::Targets::new(root);
    standard::mount_standard(process, &sources, &injected, &mut targets)?;
    additional::mount_additional(
        &process.mounts,
        sources.additional,
        &bench,
        &injected,
        &mut targets,
    )?;
    switch::switch_root(targets.root())?;
    Ok(targets.into_created())
}
