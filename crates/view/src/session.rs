//! One connection to the kernel: a mount, and threads that answer what is asked of it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::answer::{Answer, answer};
use crate::nodes::Nodes;
use crate::protocol::{REQUEST_BYTES_MAX, Request};
use crate::readers::{Readers, send};
use crate::view::ViewError;

/// Threads that answer. None of them ever waits for anything but the next request.
const THREADS: usize = 2;

/// The device that requests come from.
const DEVICE: &str = "/dev/fuse";

/// A connection. Its end is the end of the mount: whoever uses it gets ENOTCONN.
#[derive(Debug)]
pub(crate) struct Session {
    /// Attached nowhere; others are made from it.
    mount: OwnedFd,
    /// Readable when the threads are to end.
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Session {
    pub(crate) fn start(nodes: &Arc<Nodes>, readers: &Arc<Readers>) -> Result<Self, ViewError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let device = openat(CWD, DEVICE, flags, Mode::empty());
        let device = Arc::new(device.map_err(|error| ViewError::Device(error.into()))?);
        let mount = mount(&device).map_err(|error| ViewError::Mount(error.into()))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let mut session = Self {
            mount,
            stop: Arc::new(stop.map_err(|error| ViewError::Threads(error.into()))?),
            threads: Vec::new(),
        };
        for _ in 0..THREADS {
            let listener = Listener {
                device: Arc::clone(&device),
                stop: Arc::clone(&session.stop),
                nodes: Arc::clone(nodes),
                readers: Arc::clone(readers),
            };
            let started = std::thread::Builder::new()
                .name("view".into())
                .spawn(move || listener.listen());
            session.threads.push(started.map_err(ViewError::Threads)?);
        }
        Ok(session)
    }

    /// One more mount of the same file system, with what the kernel knows of it already. Fails
    /// before Linux 6.15, which has none of a mount that is attached nowhere.
    pub(crate) fn another_mount(&self) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(open_tree(&self.mount, "", flags)?)
    }

    /// The mount itself, for who knows that there is only one. The session has to be kept.
    pub(crate) fn only_mount(&self) -> io::Result<OwnedFd> {
        self.mount.try_clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The first write to an event counter of zero has no way to fail.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            // With the last of them the device is closed, which ends the connection.
            let _ = thread.join();
        }
    }
}

/// A new file system that asks through `device`, attached nowhere.
fn mount(device: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let user = rustix::process::geteuid().as_raw().to_string();
    let group = rustix::process::getegid().as_raw().to_string();
    fsconfig_set_string(&context, "source", "kiln-view")?;
    fsconfig_set_string(&context, "fd", device.as_raw_fd().to_string())?;
    // The root is a directory.
    fsconfig_set_string(&context, "rootmode", "40000")?;
    fsconfig_set_string(&context, "user_id", user)?;
    fsconfig_set_string(&context, "group_id", group)?;
    // Everybody in there, by the permissions of the files: the kernel compares, as with a disk.
    fsconfig_set_flag(&context, "allow_other")?;
    fsconfig_set_flag(&context, "default_permissions")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// What a thread answers with.
struct Listener {
    device: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    nodes: Arc<Nodes>,
    readers: Arc<Readers>,
}

impl Listener {
    fn listen(self) {
        let mut buffer = vec![0; REQUEST_BYTES_MAX];
        loop {
            match rustix::io::read(&*self.device, &mut buffer) {
                Ok(count) => {
                    if let Some(request) = Request::parse(&buffer[..count]) {
                        self.reply(&request);
                    }
                }
                Err(Errno::AGAIN) => {
                    if !self.wait() {
                        return;
                    }
                }
                // A request that was taken back, or a signal.
                Err(Errno::NOENT | Errno::INTR) => {}
                // The last mount is gone.
                Err(_) => return,
            }
        }
    }

    /// Waits for a request; says whether there may be one.
    fn wait(&self) -> bool {
        let mut ready = [
            PollFd::new(&*self.device, PollFlags::IN),
            PollFd::new(&*self.stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => ready[1].revents().is_empty(),
            Err(Errno::INTR) => true,
            Err(_) => false,
        }
    }

    fn reply(&self, request: &Request<'_>) {
        match answer(&self.nodes, request) {
            Answer::Reply(reply) => send(&self.device, &reply),
            Answer::Silence => {}
            Answer::Read(wanted) => self.readers.push(&self.device, wanted),
        }
    }
}
