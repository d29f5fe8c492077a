//! The mounts that every process gets: `/proc`, `/sys`, `/dev` and three files of `/etc`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::failure::{Doing, Failure};
use crate::process::{Network, Process};

use super::attach::{DATA_ONLY, FsOption, attach, clone_mount, new_file_system, restrict};
use super::injected::Injected;
use super::sources::Sources;
use super::target::{FinalLink, TargetKind, Targets, open_beneath};

/// Parts of `/proc` that tell about or reach the machine. Those that exist are covered.
const PROC_MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

/// Parts of `/proc` that may be looked at but not changed.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Parts of `/sys` that are covered: what tells about the machine, and the file systems that the
/// host mounts there, which come along where the visible `/sys` is shown.
const SYS_MASKED: [&str; 10] = [
    "devices/virtual/powercap",
    "firmware",
    "fs/bpf",
    "fs/fuse/connections",
    "fs/pstore",
    "fs/selinux",
    "kernel/config",
    "kernel/debug",
    "kernel/security",
    "kernel/tracing",
];

/// Where control groups are, below `/sys`.
const CONTROL_GROUPS: &str = "fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of the kernel.
const CGROUP2_SUPER_MAGIC: i128 = 0x6367_7270;

const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Makes all of them.
pub(crate) fn mount_standard(
    process: &Process,
    sources: &Sources,
    injected: &Injected,
    targets: &mut Targets,
) -> Result<(), Failure> {
    // First, since only what is attached in this namespace can be mounted again as a mask.
    mount_dev(process.limits.shared_memory_bytes_max, sources, targets)?;
    let masks = Masks::new(sources, injected)?;
    let covered = !process.security.unconfined;
    mount_proc(covered, &masks, targets)?;
    mount_sys(process.network, covered, &masks, targets)?;
    for (name, content) in [
        ("/etc/resolv.conf", process.resolv_conf.as_slice()),
        ("/etc/hosts", process.hosts.as_slice()),
        (
            "/etc/hostname",
            format!("{}\n", process.hostname).as_bytes(),
        ),
    ] {
        let doing = || format!("put {name} into the root");
        let mount = injected.file(content, 0o644).doing(doing)?;
        restrict(&mount, DATA_ONLY | READ_ONLY, false).doing(doing)?;
        let target = targets.open(Path::new(name), TargetKind::File, FinalLink::Follow)?;
        attach(&mount, target.as_fd()).doing(doing)?;
    }
    Ok(())
}

/// What hides a file and what hides a directory.
struct Masks<'a> {
    file: &'a OwnedFd,
    directory: OwnedFd,
}

impl<'a> Masks<'a> {
    fn new(sources: &'a Sources, injected: &Injected) -> Result<Self, Failure> {
        let null = sources.devices.iter().find(|(name, _)| *name == "null");
        let (_, file) = null.expect("null is in the list of devices");
        let directory = injected
            .empty_directory()
            .doing(|| "make an empty directory".to_owned())?;
        Ok(Self { file, directory })
    }

    /// Covers what `name` is below `directory`, if it exists.
    fn cover(&self, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let target = match open_beneath(directory, Path::new(name)) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_directory = FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory;
        let source = if is_directory {
            &self.directory
        } else {
            self.file
        };
        let mask = clone_mount(source, "", false)?;
        // /dev/null stays a device, or opening it would fail instead of reading nothing.
        let attributes = if is_directory {
            DATA_ONLY | READ_ONLY
        } else {
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC | READ_ONLY
        };
        restrict(&mask, attributes, false)?;
        attach(&mask, target.as_fd())
    }
}

fn mount_proc(covered: bool, masks: &Masks<'_>, targets: &mut Targets) -> Result<(), Failure> {
    let doing = || {
        "mount a new /proc (it is refused where parts of the /proc we see are covered)".to_owned()
    };
    let proc = new_file_system("proc", &[], DATA_ONLY).doing(doing)?;
    let target = targets.open(Path::new("/proc"), TargetKind::Directory, FinalLink::Refuse)?;
    attach(&proc, target.as_fd()).doing(doing)?;
    if !covered {
        return Ok(());
    }
    for name in PROC_MASKED {
        masks
            .cover(proc.as_fd(), name)
            .doing(|| format!("cover /proc/{name}"))?;
    }
    for name in PROC_READ_ONLY {
        let doing = || format!("make /proc/{name} read-only");
        let target = match open_beneath(proc.as_fd(), Path::new(name)) {
            Ok(target) => target,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error).doing(doing),
        };
        let again = clone_mount(&target, "", true).doing(doing)?;
        restrict(&again, DATA_ONLY | READ_ONLY, true).doing(doing)?;
        attach(&again, target.as_fd()).doing(doing)?;
    }
    Ok(())
}

/// A new sysfs belongs to a network namespace and is refused without an own one; then, and where
/// the visible one is covered, what is visible is shown, read-only with everything mounted in it.
fn mount_sys(
    network: Network,
    covered: bool,
    masks: &Masks<'_>,
    targets: &mut Targets,
) -> Result<(), Failure> {
    let doing = || "mount /sys".to_owned();
    let attributes = if covered {
        DATA_ONLY | READ_ONLY
    } else {
        DATA_ONLY
    };
    let visible = || -> io::Result<OwnedFd> {
        let clone = clone_mount(CWD, "/sys", true)?;
        restrict(&clone, attributes, true)?;
        Ok(clone)
    };
    let sys = match network {
        Network::Host => visible(),
        Network::None => match new_file_system("sysfs", &[], attributes) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => visible(),
            answer => answer,
        },
    };
    let sys = sys.doing(doing)?;
    let target = targets.open(Path::new("/sys"), TargetKind::Directory, FinalLink::Refuse)?;
    attach(&sys, target.as_fd()).doing(doing)?;
    if !covered {
        return Ok(());
    }
    for name in SYS_MASKED {
        masks
            .cover(sys.as_fd(), name)
            .doing(|| format!("cover /sys/{name}"))?;
    }
    mount_control_groups(sys.as_fd(), masks).doing(|| "cover /sys/fs/cgroup".to_owned())
}

/// Shows the process its own control group and none of the host's (CVE-2023-25809): programs read
/// their limits there. That takes version 2; the directory is empty with version 1.
fn mount_control_groups(sys: BorrowedFd<'_>, masks: &Masks<'_>) -> io::Result<()> {
    let visible = match open_beneath(sys, Path::new(CONTROL_GROUPS)) {
        Ok(visible) => visible,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if i128::from(fstatfs(&visible)?.f_type) == CGROUP2_SUPER_MAGIC
        && let Ok(own) = new_file_system("cgroup2", &[], DATA_ONLY | READ_ONLY)
    {
        return attach(&own, visible.as_fd());
    }
    masks.cover(sys, CONTROL_GROUPS)
}

fn mount_dev(
    shared_memory_bytes: u64,
    sources: &Sources,
    targets: &mut Targets,
) -> Result<(), Failure> {
    let doing = || "mount /dev".to_owned();
    // Mode 0755: in a sticky directory that everybody may write to, opening a device that
    // belongs to an unmapped user with O_CREAT fails, and `echo > /dev/null` does just that.
    let options = [FsOption::Text("mode", "0755"), FsOption::Text("size", "1m")];
    let no_programs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = new_file_system("tmpfs", &options, no_programs).doing(doing)?;
    let target = targets.open(Path::new("/dev"), TargetKind::Directory, FinalLink::Refuse)?;
    attach(&dev, target.as_fd()).doing(doing)?;

    for (name, node) in &sources.devices {
        let doing = || format!("make /dev/{name}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(openat(&dev, *name, flags, Mode::from_raw_mode(0o666)).doing(doing)?);
        let place = open_beneath(dev.as_fd(), Path::new(name)).doing(doing)?;
        restrict(node, no_programs, false).doing(doing)?;
        attach(node, place.as_fd()).doing(doing)?;
    }
    for (name, text) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlinkat(text, &dev, name).doing(|| format!("make /dev/{name}"))?;
    }
    let mount = |name: &str, kind: &str, options: &[FsOption<'_>], attributes| {
        let make = || -> io::Result<()> {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
            let place = open_beneath(dev.as_fd(), Path::new(name))?;
            attach(new_file_system(kind, options, attributes)?, place.as_fd())
        };
        make().doing(|| format!("mount /dev/{name}"))
    };
    let terminals = [
        FsOption::Flag("newinstance"),
        FsOption::Text("ptmxmode", "0666"),
        FsOption::Text("mode", "0620"),
    ];
    mount("pts", "devpts", &terminals, no_programs)?;
    let size = shared_memory_bytes.to_string();
    let shared_memory = [
        FsOption::Text("mode", "1777"),
        FsOption::Text("size", &size),
    ];
    mount("shm", "tmpfs", &shared_memory, DATA_ONLY)?;
    mount("mqueue", "mqueue", &[], DATA_ONLY)
}
