//! A user namespace made from outside: its maps are written, and its descriptor is held, by a
//! process that is not in it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use crate::channel::Channel;
use crate::failure::{Doing, Failure};
use crate::process::{IdMapping, UserIds};
use crate::sys;

/// Which ids exist on both sides of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    User,
    Group,
}

impl IdKind {
    /// The file of `/proc/<pid>` that holds the map.
    pub(crate) fn map_file(self) -> &'static str {
        match self {
            Self::User => "uid_map",
            Self::Group => "gid_map",
        }
    }
}

/// A run of ids: `inside`, … are `outside`, … in the parent namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// The map of the namespace this process is in (user_namespaces(7)).
pub(crate) fn own_map(kind: IdKind) -> io::Result<Vec<Extent>> {
    let text = fs::read_to_string(format!("/proc/self/{}", kind.map_file()))?;
    let extents: Option<Vec<Extent>> = text
        .lines()
        .map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            Some(Extent {
                inside: numbers.next()?.ok()?,
                outside: numbers.next()?.ok()?,
                count: numbers.next()?.ok()?,
            })
        })
        .collect();
    extents.ok_or_else(|| io::Error::other("a map of ids that is not three numbers per line"))
}

/// Whether this process is in the first user namespace, in which every id is itself.
pub(crate) fn in_initial_namespace() -> bool {
    own_map(IdKind::User).is_ok_and(|map| {
        map == [Extent {
            inside: 0,
            outside: 0,
            count: u32::MAX,
        }]
    })
}

/// Makes a user namespace that nobody is in, with the maps that `ids` asks for.
pub(crate) fn create(ids: IdMapping) -> Result<OwnedFd, Failure> {
    with_maps(&extents(ids, IdKind::User)?, &extents(ids, IdKind::Group)?)
}

/// The same, in which one user and one group of the disk are root's and there are no others: to
/// see files through.
pub(crate) fn create_for_root(ids: IdMapping, uid: u32, gid: u32) -> Result<OwnedFd, Failure> {
    let IdMapping::Reserved { base, .. } = ids else {
        return Err(Failure::Invalid {
            reason: "owners can be mapped with reserved ids only".to_owned(),
        });
    };
    let only = |inside| {
        [Extent {
            inside,
            outside: base,
            count: 1,
        }]
    };
    with_maps(&only(uid), &only(gid))
}

fn with_maps(users: &[Extent], groups: &[Extent]) -> Result<OwnedFd, Failure> {
    let (ours, theirs) = Channel::pair().doing(|| "create a socket pair".to_owned())?;
    let Some(member) = sys::fork().doing(|| "start a helper process".to_owned())? else {
        drop(ours);
        become_member(&theirs);
    };
    drop(theirs);
    let namespace = from_member(&ours, member, users, groups);
    // Its reason to exist is over: it reads the end of the stream and goes.
    drop(ours);
    let _ = waitpid(Some(member), WaitOptions::empty());
    namespace
}

/// Refuses ids that the mapping does not contain: setuid would fail with a bare EINVAL.
pub(crate) fn check_mapped(ids: IdMapping, user: &UserIds) -> Result<(), Failure> {
    let checks = [
        (IdKind::User, vec![user.uid]),
        (
            IdKind::Group,
            [&[user.gid], user.groups.as_slice()].concat(),
        ),
    ];
    for (kind, wanted) in checks {
        let extents = extents(ids, kind)?;
        let unmapped = wanted.into_iter().find(|id| {
            !extents.iter().any(|extent| {
                id.checked_sub(extent.inside)
                    .is_some_and(|offset| offset < extent.count)
            })
        });
        if let Some(id) = unmapped {
            let ranges: Vec<String> = extents
                .iter()
                .map(|extent| {
                    let last = u64::from(extent.inside) + u64::from(extent.count) - 1;
                    format!("{} to {last}", extent.inside)
                })
                .collect();
            return Err(Failure::IdNotMapped {
                id,
                mapped: ranges.join(" and "),
            });
        }
    }
    Ok(())
}

fn extents(ids: IdMapping, kind: IdKind) -> Result<Vec<Extent>, Failure> {
    match ids {
        IdMapping::Reserved { base, count } => {
            if count == 0 || base.checked_add(count).is_none() {
                let reason = format!("{count} ids from {base} on are not a range of ids");
                return Err(Failure::Invalid { reason });
            }
            Ok(vec![Extent {
                inside: 0,
                outside: base,
                count,
            }])
        }
        IdMapping::Inherited => {
            let map = own_map(kind).doing(|| format!("read /proc/self/{}", kind.map_file()))?;
            let same = map.iter().map(|extent| Extent {
                outside: extent.inside,
                ..*extent
            });
            Ok(same.collect())
        }
    }
}

/// The helper: enters a new namespace, says so, and waits until it is no longer needed.
fn become_member(channel: &Channel) -> ! {
    let errno = match sys::unshare(UnshareFlags::NEWUSER) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let _ = channel.send(&errno, &[]);
    let _ = channel.receive::<()>();
    sys::exit(0)
}

fn from_member(
    channel: &Channel,
    member: Pid,
    users: &[Extent],
    groups: &[Extent],
) -> Result<OwnedFd, Failure> {
    let doing = || "create a user namespace".to_owned();
    let answer = channel.receive::<i32>().doing(doing)?;
    match answer.map(|(errno, _)| errno) {
        Some(0) => {}
        Some(errno) => return Err(creation_failure(errno)),
        None => {
            return Err(Failure::Setup {
                doing: doing(),
                errno: libc::ESRCH,
            });
        }
    }
    let directory = format!("/proc/{}", member.as_raw_nonzero());
    for (kind, extents) in [(IdKind::User, users), (IdKind::Group, groups)] {
        fs::write(
            format!("{directory}/{}", kind.map_file()),
            map_text(extents),
        )
        .doing(|| format!("map ids into a user namespace ({})", kind.map_file()))?;
    }
    let namespace = fs::File::open(format!("{directory}/ns/user"))
        .doing(|| "open the new user namespace".to_owned())?;
    Ok(namespace.into())
}

/// The kernel says "no space left on device" when a limit on namespaces is reached.
pub(crate) fn creation_failure(errno: i32) -> Failure {
    let doing = match errno {
        libc::ENOSPC => {
            "create a user namespace: user.max_user_namespaces is used up, or 32 are nested"
        }
        libc::EPERM => {
            "create a user namespace: a setting, a seccomp filter or a chroot around us forbids it"
        }
        _ => "create a user namespace",
    };
    Failure::Setup {
        doing: doing.to_owned(),
        errno,
    }
}

/// A map as the kernel reads it: one write, one line per extent.
fn map_text(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |mut text, extent| {
        writeln!(
            text,
            "{} {} {}",
            extent.inside, extent.outside, extent.count
        )
        .expect("a String takes everything");
        text
    })
}
