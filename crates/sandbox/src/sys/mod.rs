//! The kernel calls that no safe wrapper offers: every `unsafe` of the workspace is in this
//! directory, one call per function, and each function is safe to call.

mod fork;
mod ids;
mod mount;
mod seccomp;
mod signals;

pub(crate) use fork::{close_inherited, close_others_at_exec, exec, exit, fork};
pub(crate) use ids::{join_new_session_keyring, set_ids, unshare};
pub(crate) use mount::{MountAttributes, raise_loopback, set_mount_attributes};
pub(crate) use seccomp::install_filter;
pub(crate) use signals::{block_signals, kill_everything_visible, reset_signals, wait_for_signal};
