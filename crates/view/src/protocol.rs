//! Requests and replies as bytes: the part of the kernel's `fuse.h` (version 7.31) that a file
//! system needs which never changes. All numbers are in the byte order of the machine.

use crate::nodes::Attributes;

/// Version 7 of the protocol; the minor one says how long structures are.
pub(crate) const MAJOR: u32 = 7;
pub(crate) const MINOR: u32 = 31;

/// What the kernel writes at most into one request that is not a write of data, and the least
/// that it wants to find room for (`FUSE_MIN_READ_BUFFER`).
pub(crate) const REQUEST_BYTES_MAX: usize = 8192;
/// `struct fuse_in_header`.
const HEADER_BYTES: usize = 40;
/// `struct fuse_out_header`.
pub(crate) const REPLY_HEADER_BYTES: usize = 16;

/// Requests, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Lookup,
    /// Takes no reply.
    Forget,
    GetAttributes,
    ReadLink,
    Read,
    FileSystem,
    GetExtended,
    ListExtended,
    Initialise,
    ReadDirectory,
    ReadDirectoryPlus,
    /// Everything that a file system which never changes can leave to the kernel.
    Other,
}

impl Operation {
    fn of(number: u32) -> Self {
        match number {
            1 => Self::Lookup,
            2 | 42 => Self::Forget,
            3 => Self::GetAttributes,
            5 => Self::ReadLink,
            15 => Self::Read,
            17 => Self::FileSystem,
            22 => Self::GetExtended,
            23 => Self::ListExtended,
            26 => Self::Initialise,
            28 => Self::ReadDirectory,
            44 => Self::ReadDirectoryPlus,
            _ => Self::Other,
        }
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request<'b> {
    pub(crate) operation: Operation,
    /// Names the request in its reply.
    pub(crate) unique: u64,
    /// Which file it is about.
    pub(crate) node: u64,
    pub(crate) body: Body<'b>,
}

impl<'b> Request<'b> {
    /// `None` when that is no request, which the kernel does not send.
    pub(crate) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let mut header = Body(bytes);
        let length = header.u32()?;
        let operation = Operation::of(header.u32()?);
        let unique = header.u64()?;
        let node = header.u64()?;
        let body = bytes.get(HEADER_BYTES..usize::try_from(length).ok()?)?;
        Some(Self {
            operation,
            unique,
            node,
            body: Body(body),
        })
    }
}

/// What is left to be read of a request.
#[derive(Clone, Debug)]
pub(crate) struct Body<'b>(&'b [u8]);

impl<'b> Body<'b> {
    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*number))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*number))
    }

    /// A name, which ends with a zero.
    pub(crate) fn name(&self) -> Option<&'b [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        Some(&self.0[..end])
    }

    /// Handle, offset and size of a read of a file or directory (`struct fuse_read_in`).
    pub(crate) fn read(mut self) -> Option<(u64, usize)> {
        let _handle = self.u64()?;
        let offset = self.u64()?;
        let size = self.u32()?;
        Some((offset, usize::try_from(size).ok()?))
    }
}

/// A reply that is being put together, with room for its header.
#[derive(Debug)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    pub(crate) fn new() -> Self {
        Self(vec![0; REPLY_HEADER_BYTES])
    }

    pub(crate) fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_ne_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// Bytes without the header.
    pub(crate) fn len(&self) -> usize {
        self.0.len() - REPLY_HEADER_BYTES
    }

    /// Room for content: as many zeros, to be overwritten.
    pub(crate) fn room(&mut self, count: usize) -> &mut [u8] {
        let start = self.0.len();
        self.zeros(count);
        &mut self.0[start..]
    }

    /// `struct fuse_attr`.
    pub(crate) fn attributes(&mut self, of: &Attributes) {
        self.u64(of.inode);
        self.u64(of.size);
        self.u64(of.sectors);
        for _access_modification_change in 0..3 {
            self.u64(of.mtime.cast_unsigned());
        }
        for _nanoseconds in 0..3 {
            self.u32(0);
        }
        self.u32(of.mode);
        self.u32(of.links);
        self.u32(of.uid);
        self.u32(of.gid);
        self.u32(of.device);
        self.u32(BLOCK_BYTES);
        self.u32(0);
    }

    /// `struct fuse_entry_out`; without attributes it says that nothing has that name.
    pub(crate) fn entry(&mut self, of: Option<&Attributes>) {
        self.u64(of.map_or(0, |attributes| attributes.inode));
        self.u64(0);
        self.u64(VALID_SECONDS);
        self.u64(VALID_SECONDS);
        self.u32(0);
        self.u32(0);
        match of {
            Some(attributes) => self.attributes(attributes),
            None => self.zeros(ATTRIBUTES_BYTES),
        }
    }

    /// `struct fuse_dirent`: `next` is where to go on behind it.
    pub(crate) fn directory_entry(&mut self, inode: u64, next: u64, mode: u32, name: &[u8]) {
        self.u64(inode);
        self.u64(next);
        self.u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
        self.u32((mode & libc::S_IFMT) >> 12);
        self.bytes(name);
        self.zeros(name.len().next_multiple_of(8) - name.len());
    }

    /// The bytes that are the reply to a request.
    pub(crate) fn finish(mut self, unique: u64) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..16].copy_from_slice(&unique.to_ne_bytes());
        self.0
    }

    /// The reply that a request failed.
    pub(crate) fn error(unique: u64, errno: i32) -> Vec<u8> {
        let mut bytes = Self::new().finish(unique);
        bytes[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        bytes
    }
}

/// How long the kernel may believe what it was told: ten years, and nothing changes before.
pub(crate) const VALID_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// What `stat` recommends.
pub(crate) const BLOCK_BYTES: u32 = 4096;
const ATTRIBUTES_BYTES: usize = 88;
const ENTRY_BYTES: usize = 40 + ATTRIBUTES_BYTES;

/// What a name takes in the reply to a read of a directory.
pub(crate) fn directory_entry_bytes(name: &[u8], plus: bool) -> usize {
    let head = if plus { ENTRY_BYTES } else { 0 };
    head + 24 + name.len().next_multiple_of(8)
}
