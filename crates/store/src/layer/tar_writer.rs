//! Entries as tar headers: POSIX ustar, with a PAX header only where ustar has
//! no room. Knows nothing of files and layers, only of bytes.
//!
//! The bytes are a contract: equal entries give equal bytes in every version,
//! because digests of layers are compared between machines. What ustar leaves
//! open is decided so:
//!
//! | field | value |
//! |---|---|
//! | names | raw bytes in `name` or `prefix` and `name`; PAX `path`, `linkpath` when they do not fit |
//! | directories | end in `/` |
//! | hard links | name their target relative to the root, without `./` or `/` (Docker 29.7 refuses others) |
//! | times | `mtime` in whole seconds, no others |
//! | owners | numbers; user and group names empty |
//! | numbers too large or negative | zero in the header, the number in the PAX header |
//! | extended attributes | PAX `SCHILY.xattr.NAME`, as GNU tar, Go and containerd read them |
//! | PAX keys | in byte order; `hdrcharset=BINARY` when a name is not UTF-8 |
//! | PAX headers | all called `././@PaxHeader`, mode 0644, time 0 |

use super::{Entry, EntryKind, EntryPath, Metadata};

/// What an entry cannot be in a tar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// The root has no name; changes of it are not layered.
    #[error("the root of a file system is not an entry of a layer")]
    Root,
    /// A name that would be taken for a whiteout when the layer is read.
    #[error(
        "`{0}` cannot be in a layer: names that begin with `.wh.` mean deletions there (image specification, \"Whiteouts\")"
    )]
    Whiteout(EntryPath),
    /// A device number larger than Linux has.
    #[error("`{path}` has the device number {major}:{minor}, which a tar cannot hold")]
    Device {
        /// The device.
        path: EntryPath,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A link target with a zero byte.
    #[error("the target of the link `{0}` contains a zero byte")]
    Target(EntryPath),
    /// An attribute whose name PAX cannot hold.
    #[error("`{path}` has the extended attribute `{name}`, whose name a tar cannot hold")]
    Attribute {
        /// The file.
        path: EntryPath,
        /// The attribute.
        name: String,
    },
}

/// The unit of a tar, in bytes.
pub(crate) const BLOCK_BYTES: usize = 512;

/// What ends a tar.
pub(crate) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// What marks a deletion, in front of the name.
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// What marks an opaque directory.
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// The metadata that every whiteout has, whoever deleted what and when.
pub(crate) fn whiteout_metadata() -> Metadata {
    Metadata::root_owned(0, 0)
}

/// Bytes of zero behind `size` bytes of content.
pub(crate) fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK_BYTES as u64) as usize
}

/// Appends the headers of `entry` to `out`. Content and [`padding`] follow for a
/// file, nothing for anything else.
pub(crate) fn header(entry: &Entry, out: &mut Vec<u8>) -> Result<(), TarError> {
    let Entry {
        path,
        kind,
        metadata,
    } = entry;
    if path.is_root() {
        return Err(TarError::Root);
    }
    if path.components().any(|name| name.starts_with(WHITEOUT_PREFIX)) {
        return Err(TarError::Whiteout(path.clone()));
    }
    let mut name = path.as_bytes().to_vec();
    let mut link: &[u8] = b"";
    let mut size = 0;
    let mut device = (0, 0);
    let kind = match kind {
        EntryKind::Directory => {
            name.push(b'/');
            b'5'
        }
        EntryKind::File { size: bytes, .. } => {
            size = *bytes;
            b'0'
        }
        EntryKind::Symlink { target } => {
            link = target;
            b'2'
        }
        EntryKind::HardLink { target } => {
            link = target.as_bytes();
            b'1'
        }
        EntryKind::CharacterDevice { major, minor } => {
            device = (*major, *minor);
            b'3'
        }
        EntryKind::BlockDevice { major, minor } => {
            device = (*major, *minor);
            b'4'
        }
        EntryKind::Fifo => b'6',
        EntryKind::Whiteout => {
            let start = name.len() - path.name().len();
            name.splice(start..start, WHITEOUT_PREFIX.iter().copied());
            b'0'
        }
        EntryKind::Opaque => {
            name.push(b'/');
            name.extend_from_slice(OPAQUE_NAME);
            b'0'
        }
    };
    if link.contains(&0) {
        return Err(TarError::Target(path.clone()));
    }
    if device.0 > DEVICE_MAX || device.1 > DEVICE_MAX {
        return Err(TarError::Device {
            path: path.clone(),
            major: device.0,
            minor: device.1,
        });
    }
    let split = split_name(&name);
    let numbers = [
        ("uid", i64::from(metadata.uid), ID_MAX),
        ("gid", i64::from(metadata.gid), ID_MAX),
        ("mtime", metadata.mtime, SIZE_MAX),
        ("size", i64::try_from(size).unwrap_or(i64::MAX), SIZE_MAX),
    ];
    let large = |value: i64, max: i64| value < 0 || value > max;
    let needs_pax = split.is_none()
        || link.len() > NAME_BYTES
        || !metadata.xattrs.is_empty()
        || numbers.iter().any(|(_, value, max)| large(*value, *max));
    if needs_pax {
        let mut pax = Pax::default();
        for (attribute, value) in &metadata.xattrs {
            if attribute.is_empty() || attribute.iter().any(|b| matches!(b, 0 | b'=')) {
                return Err(TarError::Attribute {
                    path: path.clone(),
                    name: String::from_utf8_lossy(attribute).into_owned(),
                });
            }
            pax.add(&[b"SCHILY.xattr.", &attribute[..]].concat(), value);
        }
        // The keys from here on are lower case and sort behind the attributes.
        let long_name = split.is_none().then_some(&name[..]);
        let long_link = (link.len() > NAME_BYTES).then_some(link);
        let [uid, gid, mtime, bytes] =
            numbers.map(|(_, value, max)| large(value, max).then(|| value.to_string()));
        let binary = [long_name, long_link]
            .iter()
            .flatten()
            .any(|name| std::str::from_utf8(name).is_err());
        pax.add_some(b"gid", gid.as_deref().map(str::as_bytes));
        pax.add_some(b"hdrcharset", binary.then_some(b"BINARY"));
        pax.add_some(b"linkpath", long_link);
        pax.add_some(b"mtime", mtime.as_deref().map(str::as_bytes));
        pax.add_some(b"path", long_name);
        pax.add_some(b"size", bytes.as_deref().map(str::as_bytes));
        pax.add_some(b"uid", uid.as_deref().map(str::as_bytes));
        let body = pax.0;
        block(
            out,
            &Fields {
                prefix: b"",
                name: b"././@PaxHeader",
                kind: b'x',
                link: b"",
                size: body.len() as u64,
                device: (0, 0),
                metadata: &Metadata::root_owned(0o644, 0),
            },
        );
        out.extend_from_slice(&body);
        out.resize(out.len() + padding(body.len() as u64), 0);
    }
    let (prefix, short) = split.unwrap_or((b"", &name[..name.len().min(NAME_BYTES)]));
    block(
        out,
        &Fields {
            prefix,
            name: short,
            kind,
            link: &link[..link.len().min(NAME_BYTES)],
            size,
            device,
            metadata,
        },
    );
    Ok(())
}

const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
/// Seven octal digits.
const ID_MAX: i64 = 0o777_7777;
/// Seven octal digits; Linux has 12 bits of major and 20 of minor.
const DEVICE_MAX: u32 = 0o777_7777;
/// Eleven octal digits: 8 GiB less one byte.
const SIZE_MAX: i64 = 0o777_7777_7777;

/// `prefix` and `name` of a path that fits into them, divided at the first slash
/// that leaves a short enough name.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_BYTES {
        return Some((b"", path));
    }
    let first = path.len() - NAME_BYTES - 1;
    let slash = first + path[first..].iter().position(|b| *b == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (prefix.len() <= PREFIX_BYTES && !prefix.is_empty() && !name.is_empty())
        .then_some((prefix, name))
}

/// Records of a PAX header: `LENGTH KEY=VALUE\n`, the length counting itself.
#[derive(Default)]
struct Pax(Vec<u8>);

impl Pax {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + decimal_digits(length) != length {
            length = rest + decimal_digits(length);
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn add_some(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

struct Fields<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    size: u64,
    device: (u32, u32),
    metadata: &'a Metadata,
}

/// One header block (POSIX.1-1988, "ustar Interchange Format"). Numbers that do
/// not fit are zero: a PAX header has them.
fn block(out: &mut Vec<u8>, fields: &Fields<'_>) {
    let mut block = [0u8; BLOCK_BYTES];
    let fitting = |value: i64, max: i64| {
        u64::try_from(value)
            .ok()
            .filter(|_| value <= max)
            .unwrap_or(0)
    };
    let size = i64::try_from(fields.size).unwrap_or(i64::MAX);
    block[..fields.name.len()].copy_from_slice(fields.name);
    octal(&mut block[100..108], u64::from(fields.metadata.mode & 0o7777));
    octal(&mut block[108..116], fitting(fields.metadata.uid.into(), ID_MAX));
    octal(&mut block[116..124], fitting(fields.metadata.gid.into(), ID_MAX));
    octal(&mut block[124..136], fitting(size, SIZE_MAX));
    octal(&mut block[136..148], fitting(fields.metadata.mtime, SIZE_MAX));
    block[156] = fields.kind;
    block[157..157 + fields.link.len()].copy_from_slice(fields.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], fields.device.0.into());
    octal(&mut block[337..345], fields.device.1.into());
    block[345..345 + fields.prefix.len()].copy_from_slice(fields.prefix);
    // The sum counts its own field as blanks, and ends in zero and blank.
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    out.extend_from_slice(&block);
}

/// Octal digits with leading zeros and a zero byte behind.
fn octal(field: &mut [u8], mut value: u64) {
    let (end, digits) = field.split_last_mut().expect("no field is empty");
    *end = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}
