//! Archives made byte by byte, and a cage to unpack them in.
#![allow(dead_code)] // every test file uses its own part

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Compression, Descriptor, Digest, MediaType};
use store::dir::Dir;
use store::layer::{
    LayerIndex, Limits, Ownership, ScanError, ScanOptions, Tree, UnpackTarget, scan, scan_again,
};

/// A tar under construction. Nothing is checked: that is what it is for.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// One header, changed field by field.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    pub(crate) fn new(name: &str, letter: u8) -> Self {
        let mut header = Self([0; 512]);
        header.0[..name.len()].copy_from_slice(name.as_bytes());
        header.0[156] = letter;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header.octal(100, 8, 0o644);
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(124, 12, 0);
        header.octal(136, 12, 0);
        header
    }

    pub(crate) fn octal(&mut self, at: usize, width: usize, value: u64) {
        let digits = format!("{value:0width$o}", width = width - 1);
        self.0[at..at + width - 1].copy_from_slice(digits.as_bytes());
        self.0[at + width - 1] = 0;
    }

    #[must_use]
    pub(crate) fn mode(mut self, mode: u64) -> Self {
        self.octal(100, 8, mode);
        self
    }

    #[must_use]
    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid);
        self.octal(116, 8, gid);
        self
    }

    #[must_use]
    pub(crate) fn size(mut self, size: u64) -> Self {
        self.octal(124, 12, size);
        self
    }

    #[must_use]
    pub(crate) fn mtime(mut self, mtime: u64) -> Self {
        self.octal(136, 12, mtime);
        self
    }

    #[must_use]
    pub(crate) fn link(mut self, target: &str) -> Self {
        self.0[157..157 + target.len()].copy_from_slice(target.as_bytes());
        self
    }

    #[must_use]
    pub(crate) fn device(mut self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major);
        self.octal(337, 8, minor);
        self
    }

    #[must_use]
    pub(crate) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn sealed(mut self) -> [u8; 512] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        let digits = format!("{sum:06o}\0 ");
        self.0[148..156].copy_from_slice(digits.as_bytes());
        self.0
    }
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A header and a body of any length, padded.
    #[must_use]
    pub(crate) fn raw(mut self, header: Header, body: &[u8]) -> Self {
        self.0.extend_from_slice(&header.sealed());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    #[must_use]
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(Header::new(name, b'0').size(content.len() as u64), content)
    }

    #[must_use]
    pub(crate) fn dir(self, name: &str) -> Self {
        self.raw(Header::new(name, b'5').mode(0o755), b"")
    }

    #[must_use]
    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        if target.len() < 100 {
            return self.raw(Header::new(name, b'2').link(target), b"");
        }
        self.raw(
            Header::new("././@LongLink", b'K').size(target.len() as u64 + 1),
            &[target.as_bytes(), b"\0"].concat(),
        )
        .raw(Header::new(name, b'2'), b"")
    }

    #[must_use]
    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(Header::new(name, b'1').link(target), b"")
    }

    /// A PAX header of whole records.
    #[must_use]
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(k, v)| record(k, v)).collect();
        self.pax_body(b'x', &body)
    }

    #[must_use]
    pub(crate) fn pax_body(self, letter: u8, body: &[u8]) -> Self {
        self.raw(
            Header::new("PaxHeaders/x", letter).size(body.len() as u64),
            body,
        )
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn record(keyword: &str, value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {keyword}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// A target to unpack into, and things beside it that must not change.
pub(crate) struct Cage {
    base: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Cage {
    pub(crate) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir(base.path().join("root")).unwrap();
        fs::create_dir(outside.join("dir")).unwrap();
        fs::write(outside.join("file"), b"precious").unwrap();
        fs::write(outside.join("dir/inner"), b"precious too").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o711)).unwrap();
        symlink("file", outside.join("link")).unwrap();
        let before = picture(&outside);
        Self { base, before }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    pub(crate) fn outside(&self) -> String {
        self.base.path().join("outside").to_str().unwrap().into()
    }

    /// Where the outside's path leads inside the root.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn assert_untouched(&self, what: &str) {
        let after = picture(&self.base.path().join("outside"));
        assert_eq!(self.before, after, "{what} changed something outside");
        let mut names: Vec<_> = fs::read_dir(self.base.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["outside", "root"], "{what} left something outside");
    }

    /// Scans a plain tar and unpacks it; says what came out, after looking that
    /// nothing outside changed.
    pub(crate) fn unpack(&self, tar: &[u8], lower: Option<&Tree>) -> Result<LayerIndex, ScanError> {
        let root = Dir::open(&self.root()).unwrap();
        let result = scan_bytes(
            tar,
            Compression::None,
            Limits::default(),
            Some(UnpackTarget {
                root: &root,
                lower,
                ownership: ownership(),
            }),
        );
        self.assert_untouched(&format!("{result:?}"));
        result
    }
}

pub(crate) fn is_root() -> bool {
    rustix_uid() == 0
}

fn rustix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

pub(crate) fn ownership() -> Ownership {
    if is_root() {
        Ownership::Apply
    } else {
        Ownership::Record
    }
}

/// Everything that one can see of a tree.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            format!("{:?}", fs::read(&path).unwrap())
        } else if metadata.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            String::new()
        };
        let line = format!(
            "{:o} {}:{} inode {} links {} mtime {}.{} ctime {}.{} {content}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.ino(),
            metadata.nlink(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        );
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        seen.insert(path, line);
    }
    seen
}

pub(crate) fn descriptor(blob: &[u8], compression: Compression) -> Descriptor {
    Descriptor::new(
        MediaType::OciLayer(compression),
        Digest::of(blob),
        blob.len() as u64,
    )
}

pub(crate) fn scan_bytes(
    blob: &[u8],
    compression: Compression,
    limits: Limits,
    unpack: Option<UnpackTarget<'_>>,
) -> Result<LayerIndex, ScanError> {
    let expected = descriptor(blob, compression);
    let options = ScanOptions {
        compression,
        expected_blob: Some(&expected),
        expected_diff_id: None,
        limits,
        unpack,
    };
    let index = Arc::new(scan(blob, options)?.index);
    let alone = ScanOptions {
        unpack: None,
        ..options
    };
    // What lies below changes nothing in an index, and who has one needs no second one.
    if unpack.is_some() {
        assert_eq!(
            scan(blob, alone).ok().map(|s| s.index).as_ref(),
            Some(&*index)
        );
    }
    scan_again(blob, alone, &index).unwrap();
    Ok(Arc::unwrap_or_clone(index))
}

pub(crate) fn index(tar: &[u8]) -> LayerIndex {
    scan_bytes(tar, Compression::None, Limits::default(), None).unwrap()
}

pub(crate) fn tree(layers: &[&[u8]]) -> Tree {
    let layers: Vec<_> = layers.iter().map(|tar| Arc::new(index(tar))).collect();
    Tree::stack(&layers)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// So many zero bytes, without holding them.
pub(crate) fn zeros(count: u64) -> impl Read {
    std::io::repeat(0).take(count)
}
