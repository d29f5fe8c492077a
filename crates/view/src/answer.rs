//! Request to reply, from the tree alone. What has to be read from a file is handed on.

use store::layer::{EntryKind, Node, NodeId};

use crate::nodes::{Nodes, inode};
use crate::protocol::{
    BLOCK_BYTES, MAJOR, MINOR, Operation, Reply, Request, directory_entry_bytes,
};

/// What to do about a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Send this.
    Reply(Vec<u8>),
    /// Send nothing.
    Silence,
    /// Read from a file, and send that.
    Read(Wanted),
}

/// A part of a file that the kernel waits for; it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) unique: u64,
    pub(crate) file: NodeId,
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

/// Pages that one reply may fill: 1 MiB.
const PAGES_MAX: u16 = 256;
/// Bytes of one reply with content.
pub(crate) const READ_BYTES_MAX: usize = PAGES_MAX as usize * 4096;
/// Requests of the kernel's own, such as reading ahead, that may be under way at once.
const BACKGROUND_MAX: u16 = 64;
const CONGESTED_FROM: u16 = 48;
/// What a write may have; there are none, and this is the least that the kernel takes.
const WRITE_BYTES_MAX: u32 = 4096;

/// What is asked for in the handshake, of what the kernel offers (`FUSE_*` of `fuse.h`).
mod flag {
    pub(super) const ASYNC_READ: u32 = 1 << 0;
    pub(super) const EXPORT_SUPPORT: u32 = 1 << 4;
    pub(super) const DO_READDIRPLUS: u32 = 1 << 13;
    pub(super) const READDIRPLUS_AUTO: u32 = 1 << 14;
    pub(super) const NO_OPEN_SUPPORT: u32 = 1 << 17;
    pub(super) const PARALLEL_DIROPS: u32 = 1 << 18;
    pub(super) const POSIX_ACL: u32 = 1 << 20;
    pub(super) const MAX_PAGES: u32 = 1 << 22;
    pub(super) const CACHE_SYMLINKS: u32 = 1 << 23;
    pub(super) const NO_OPENDIR_SUPPORT: u32 = 1 << 24;
    pub(super) const EXPLICIT_INVAL_DATA: u32 = 1 << 25;
}

/// Answers a request, whatever it is.
pub(crate) fn answer(nodes: &Nodes, request: &Request<'_>) -> Answer {
    let unique = request.unique;
    let replied = match request.operation {
        Operation::Forget => return Answer::Silence,
        Operation::Read => match read(nodes, request) {
            Ok(Some(wanted)) => return Answer::Read(wanted),
            Ok(None) => Ok(Reply::new()),
            Err(errno) => Err(errno),
        },
        Operation::Lookup => lookup(nodes, request),
        Operation::GetAttributes => attributes(nodes, request),
        Operation::ReadLink => link(nodes, request),
        Operation::FileSystem => Ok(file_system(nodes)),
        Operation::GetExtended => extended(nodes, request),
        Operation::ListExtended => list_extended(nodes, request),
        Operation::Initialise => initialise(nodes, request),
        Operation::ReadDirectory => directory(nodes, request, false),
        Operation::ReadDirectoryPlus => directory(nodes, request, true),
        // Among them opening and closing: told once that there is nothing to do, the kernel does
        // not ask again.
        Operation::Other => Err(libc::ENOSYS),
    };
    Answer::Reply(match replied {
        Ok(reply) => reply.finish(unique),
        Err(errno) => Reply::error(unique, errno),
    })
}

type Replied = Result<Reply, i32>;

fn node<'n>(nodes: &'n Nodes, request: &Request<'_>) -> Result<Node<'n>, i32> {
    nodes.node(request.node).ok_or(libc::ESTALE)
}

fn initialise(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let mut body = request.body.clone();
    let (major, minor) = (body.u32(), body.u32());
    let (ahead, offered) = (body.u32(), body.u32());
    let (Some(major), Some(_minor), Some(ahead), Some(offered)) = (major, minor, ahead, offered)
    else {
        return Err(libc::EPROTO);
    };
    if major < MAJOR {
        return Err(libc::EPROTO);
    }
    let mut wanted = flag::ASYNC_READ
        | flag::EXPORT_SUPPORT
        | flag::DO_READDIRPLUS
        | flag::READDIRPLUS_AUTO
        | flag::NO_OPEN_SUPPORT
        | flag::PARALLEL_DIROPS
        | flag::MAX_PAGES
        | flag::CACHE_SYMLINKS
        | flag::NO_OPENDIR_SUPPORT
        // Nothing is ever found to have changed.
        | flag::EXPLICIT_INVAL_DATA;
    if nodes.has_access_lists {
        wanted |= flag::POSIX_ACL;
    }
    let mut reply = Reply::new();
    reply.u32(MAJOR);
    reply.u32(MINOR);
    reply.u32(ahead);
    reply.u32(wanted & offered);
    reply.u16(BACKGROUND_MAX);
    reply.u16(CONGESTED_FROM);
    reply.u32(WRITE_BYTES_MAX);
    // Times in whole seconds are written in nanoseconds.
    reply.u32(1);
    reply.u16(PAGES_MAX);
    reply.u16(0);
    reply.zeros(32);
    Ok(reply)
}

fn lookup(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let name = request.body.name().ok_or(libc::EINVAL)?;
    let found = node(nodes, request)?.child(name);
    let found = found.and_then(|child| nodes.shown(child));
    let mut reply = Reply::new();
    reply.entry(found.map(|node| nodes.attributes(node)).as_ref());
    Ok(reply)
}

fn attributes(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let mut reply = Reply::new();
    reply.u64(crate::protocol::VALID_SECONDS);
    reply.u64(0);
    reply.attributes(&nodes.attributes(node(nodes, request)?));
    Ok(reply)
}

fn link(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let target = node(nodes, request)?.link_target().ok_or(libc::EINVAL)?;
    let mut reply = Reply::new();
    reply.bytes(target);
    Ok(reply)
}

/// `None` at the end of the file.
fn read(nodes: &Nodes, request: &Request<'_>) -> Result<Option<Wanted>, i32> {
    let node = node(nodes, request)?;
    let EntryKind::File { size, .. } = node.kind() else {
        return Err(libc::EINVAL);
    };
    let (offset, bytes) = request.body.clone().read().ok_or(libc::EINVAL)?;
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let bytes = bytes.min(left).min(READ_BYTES_MAX);
    Ok((bytes > 0).then_some(Wanted {
        unique: request.unique,
        file: node.id(),
        offset,
        bytes,
    }))
}

fn file_system(nodes: &Nodes) -> Reply {
    let mut reply = Reply::new();
    reply.u64(nodes.bytes.div_ceil(BLOCK_BYTES.into()));
    // Nothing is free.
    reply.u64(0);
    reply.u64(0);
    reply.u64(nodes.files);
    reply.u64(0);
    reply.u32(BLOCK_BYTES);
    reply.u32(255);
    reply.u32(BLOCK_BYTES);
    reply.zeros(28);
    reply
}

fn extended(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let mut body = request.body.clone();
    let room = body.u32().ok_or(libc::EINVAL)?;
    let _padding = body.u32();
    let name = body.name().ok_or(libc::EINVAL)?;
    let value = nodes.extended(node(nodes, request)?, name);
    sized(&value.ok_or(libc::ENODATA)?, room)
}

fn list_extended(nodes: &Nodes, request: &Request<'_>) -> Replied {
    let room = request.body.clone().u32().ok_or(libc::EINVAL)?;
    let mut names = Vec::new();
    for name in node(nodes, request)?.metadata().xattrs.keys() {
        names.extend_from_slice(name);
        names.push(0);
    }
    sized(&names, room)
}

/// The bytes, if there is room for them; how many there are, if there is no room at all.
fn sized(bytes: &[u8], room: u32) -> Replied {
    let mut reply = Reply::new();
    let count = u32::try_from(bytes.len()).map_err(|_| libc::E2BIG)?;
    if room == 0 {
        reply.u32(count);
        reply.u32(0);
    } else if count > room {
        return Err(libc::ERANGE);
    } else {
        reply.bytes(bytes);
    }
    Ok(reply)
}

/// As many names as there is room for, from where the last reply ended: itself is 0, the directory
/// above 1, and from 2 on there is what is in it.
fn directory(nodes: &Nodes, request: &Request<'_>, plus: bool) -> Replied {
    let directory = node(nodes, request)?;
    if !directory.is_directory() {
        return Err(libc::ENOTDIR);
    }
    let (from, room) = request.body.clone().read().ok_or(libc::EINVAL)?;
    let mut reply = Reply::new();
    let dots: [(&[u8], Node<'_>); 2] = [(b".", directory), (b"..", directory.parent())];
    let from = usize::try_from(from).map_err(|_| libc::EINVAL)?;
    let first = dots.into_iter().enumerate().skip(from);
    let children = directory.children_from(from.saturating_sub(2));
    let rest = children.map(|child| (child.name(), child));
    let rest = rest.enumerate().map(|(at, pair)| (at + from.max(2), pair));
    for (at, (name, node)) in first.chain(rest) {
        let Some(node) = nodes.shown(node) else {
            continue;
        };
        if reply.len() + directory_entry_bytes(name, plus) > room {
            break;
        }
        let attributes = nodes.attributes(node);
        if plus {
            // The kernel knows the two already.
            reply.entry((at >= 2).then_some(&attributes));
        }
        reply.directory_entry(inode(node), at as u64 + 1, attributes.mode, name);
    }
    Ok(reply)
}
