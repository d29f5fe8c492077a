//! The limits that the caller asks for by name (setrlimit(2)).

use rustix::process::{Resource as Kind, Rlimit, getrlimit, setrlimit};

use crate::failure::{Doing, Failure};
use crate::process::{Resource, ResourceLimit};

/// Sets one. What is above the hard limit of whoever calls is refused by the kernel, and that is
/// said: a build that asked for more than it got would fail later and elsewhere.
pub(crate) fn set(limit: ResourceLimit) -> Result<(), Failure> {
    let ResourceLimit {
        resource,
        soft,
        hard,
    } = limit;
    let most = getrlimit(kind(resource)).maximum;
    let wanted = Rlimit {
        current: bounded(soft),
        maximum: bounded(hard),
    };
    setrlimit(kind(resource), wanted).doing(|| {
        let name = resource.name();
        let most = most.map_or("none".to_owned(), |most| most.to_string());
        format!("set the limit {name} to {soft}:{hard} (the hard limit here is {most})")
    })
}

/// Raises the hard limits of this process to what will be asked for, where it may: the command
/// itself will be root of its own namespace only, and cannot.
pub(crate) fn make_room(limits: &[ResourceLimit]) {
    for limit in limits {
        let now = getrlimit(kind(limit.resource));
        if now.maximum.is_some_and(|most| most < limit.hard) {
            let wanted = Rlimit {
                current: now.current,
                maximum: bounded(limit.hard),
            };
            // Who may not is told when the limit is set.
            let _ = setrlimit(kind(limit.resource), wanted);
        }
    }
}

fn bounded(number: u64) -> Option<u64> {
    (number != u64::MAX).then_some(number)
}

fn kind(resource: Resource) -> Kind {
    match resource {
        Resource::Core => Kind::Core,
        Resource::Cpu => Kind::Cpu,
        Resource::Data => Kind::Data,
        Resource::Fsize => Kind::Fsize,
        Resource::Locks => Kind::Locks,
        Resource::Memlock => Kind::Memlock,
        Resource::Msgqueue => Kind::Msgqueue,
        Resource::Nice => Kind::Nice,
        Resource::Nofile => Kind::Nofile,
        Resource::Nproc => Kind::Nproc,
        Resource::Rss => Kind::Rss,
        Resource::Rtprio => Kind::Rtprio,
        Resource::Rttime => Kind::Rttime,
        Resource::Sigpending => Kind::Sigpending,
        Resource::Stack => Kind::Stack,
    }
}
