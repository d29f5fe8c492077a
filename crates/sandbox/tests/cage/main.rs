//! The cage from outside: what a process in it can see, do and leave behind, for both kinds of
//! callers: root, and an ordinary user inside a user namespace.
//!
//! Needs `/bin/busybox` as a static program for the root file system; a caller that this machine
//! cannot provide is skipped by name.

mod cage;
mod calls;
mod endings;
mod files;
mod hostile;
mod isolation;
mod mounts;
mod survivors;
mod trial;
