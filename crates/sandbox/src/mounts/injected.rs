//! Files whose content the caller gives: they live on the workbench and are shown in the root by
//! bind mounts, so they never reach the upper directory.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};

use super::attach::clone_mount;
use super::target::open_beneath;

/// Makes such files in one directory.
#[derive(Debug)]
pub(crate) struct Injected {
    directory: OwnedFd,
    made: Cell<u32>,
}

impl Injected {
    /// In a new directory of the workbench.
    pub(crate) fn new(bench: &OwnedFd) -> io::Result<Self> {
        mkdirat(bench, "injected", Mode::RWXU)?;
        let directory = open_beneath(bench.as_fd(), Path::new("injected"))?;
        Ok(Self {
            directory,
            made: Cell::new(0),
        })
    }

    /// A mount of a file with this content, of root.
    pub(crate) fn file(&self, content: &[u8], mode: u32) -> io::Result<OwnedFd> {
        self.owned_file(content, mode, 0, 0)
    }

    /// A mount of a file with this content and owner.
    pub(crate) fn owned_file(
        &self,
        content: &[u8],
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> io::Result<OwnedFd> {
        let name = self.next_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, &name, flags, Mode::RUSR)?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&file, Mode::from_raw_mode(mode))?;
        clone_mount(&self.directory, &name, false)
    }

    /// A mount of an empty directory.
    pub(crate) fn empty_directory(&self) -> io::Result<OwnedFd> {
        let name = self.next_name();
        mkdirat(&self.directory, &name, Mode::from_raw_mode(0o755))?;
        clone_mount(&self.directory, &name, false)
    }

    fn next_name(&self) -> String {
        self.made.set(self.made.get() + 1);
        self.made.get().to_string()
    }
}
