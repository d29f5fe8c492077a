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
    if path
        .components()
        .any(|name| name.starts_with(WHITEOUT_PREFIX))
    {
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
    octal(
        &mut block[100..108],
        u64::from(fields.metadata.mode & 0o7777),
    );
    octal(
        &mut block[108..116],
        fitting(fields.metadata.uid.into(), ID_MAX),
    );
    octal(
        &mut block[116..124],
        fitting(fields.metadata.gid.into(), ID_MAX),
    );
    octal(&mut block[124..136], fitting(size, SIZE_MAX));
    octal(
        &mut block[136..148],
        fitting(fields.metadata.mtime, SIZE_MAX),
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::ContentHash;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: EntryPath::parse(path.as_bytes()).unwrap(),
            kind,
            metadata: Metadata::root_owned(0o644, 1_700_000_000),
        }
    }

    fn file(path: &str, size: u64) -> Entry {
        let content = ContentHash([0; 32]);
        entry(path, EntryKind::File { size, content })
    }

    fn encode(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        header(entry, &mut out).unwrap();
        out
    }

    /// The entries that exercise every rule of the table above.
    fn samples() -> Vec<Entry> {
        let link = |target: &[u8]| EntryKind::Symlink {
            target: target.into(),
        };
        let mut capability = file("bin/ping", 3);
        capability.metadata.mode = 0o4755;
        for (name, value) in [
            (&b"security.capability"[..], &b"\x01\0\0\x02\0\n=\xff"[..]),
            (b"user.a", b""),
        ] {
            let (name, value) = (name.into(), value.into());
            capability.metadata.xattrs.insert(name, value);
        }
        let mut large_numbers = file("big", 9 << 30);
        large_numbers.metadata.uid = 3_000_000_000;
        large_numbers.metadata.gid = 2_097_152;
        large_numbers.metadata.mtime = -1;
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
        let longer = format!("{}/{}", "d".repeat(120), "f".repeat(101));
        let mut bytes = entry("x", EntryKind::Fifo);
        bytes.path = EntryPath::parse(b"caf\xe9").unwrap();
        let mut long_bytes = entry("x", EntryKind::Directory);
        long_bytes.path = EntryPath::parse(&[b'\xff'; 200]).unwrap();
        vec![
            entry("etc", EntryKind::Directory),
            file("etc/motd", 12),
            capability,
            large_numbers,
            file(&long, 0),
            file(&longer, 0),
            bytes,
            long_bytes,
            entry("l", link(b"/etc/motd")),
            entry("ll", link(&[b't'; 101])),
            entry(
                "h",
                EntryKind::HardLink {
                    target: EntryPath::parse(b"/etc/motd").unwrap(),
                },
            ),
            entry(
                "dev/null",
                EntryKind::CharacterDevice { major: 1, minor: 3 },
            ),
            entry(
                "dev/sda",
                EntryKind::BlockDevice {
                    major: 4095,
                    minor: 1_048_575,
                },
            ),
            entry("etc/gone", EntryKind::Whiteout),
            entry("top", EntryKind::Whiteout),
            entry("srv", EntryKind::Opaque),
        ]
    }

    /// A change of this digest changes the digests of layers that people have
    /// pushed and pinned: it is a change of format, never a refactoring.
    #[test]
    fn the_bytes_are_a_contract() {
        let mut tar = Vec::new();
        for sample in samples() {
            header(&sample, &mut tar).unwrap();
        }
        assert_eq!(tar.len() % BLOCK_BYTES, 0);
        assert_eq!(
            oci::Digest::of(&tar).as_str(),
            "sha256:cfa1fabf5b5e3a4ee885534e178dcb06eacb8220fb4db86b9b43a08cbe95f506"
        );
    }

    fn check_pax(entry: &Entry, expected: &[u8]) {
        let bytes = encode(entry);
        assert_eq!(bytes[156], b'x', "{entry:?}");
        let body = &bytes[BLOCK_BYTES..bytes.len() - BLOCK_BYTES];
        let end = body.iter().rposition(|b| *b != 0).unwrap() + 1;
        assert_eq!(
            body[..end].escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn pax_headers_appear_only_where_ustar_has_no_room() {
        let pax: Vec<_> = samples()
            .iter()
            .filter(|entry| encode(entry)[156] == b'x')
            .map(|entry| entry.path.as_bytes()[..3.min(entry.path.as_bytes().len())].to_vec())
            .collect();
        let expected: [&[u8]; 5] = [b"bin", b"big", b"ddd", b"\xff\xff\xff", b"ll"];
        assert_eq!(pax, expected);
    }

    #[test]
    fn pax_records_are_sorted_and_count_their_own_length() {
        let samples = samples();
        check_pax(
            &samples[2],
            b"45 SCHILY.xattr.security.capability=\x01\0\0\x02\0\n=\xff\n24 SCHILY.xattr.user.a=\n",
        );
        check_pax(
            &samples[3],
            b"15 gid=2097152\n12 mtime=-1\n19 size=9663676416\n18 uid=3000000000\n",
        );
        // 98 bytes without the length, which cannot be 100: three digits more.
        let mut edge = Pax::default();
        edge.add(b"k", &[b'v'; 94]);
        assert!(edge.0.starts_with(b"101 k=") && edge.0.len() == 101);
    }

    #[test]
    fn what_a_tar_cannot_hold_is_refused() {
        let refused = |entry: Entry| header(&entry, &mut Vec::new()).unwrap_err();
        assert_eq!(refused(entry("", EntryKind::Directory)), TarError::Root);
        for name in [".wh.x", "a/.wh..wh..opq", ".wh.d/x"] {
            let error = refused(file(name, 0));
            assert!(matches!(error, TarError::Whiteout(_)), "{name}: {error}");
        }
        let device = EntryKind::BlockDevice {
            major: 1 << 21,
            minor: 0,
        };
        assert!(matches!(
            refused(entry("d", device)),
            TarError::Device { .. }
        ));
        for name in [&b""[..], b"a=b", b"a\0b"] {
            let mut file = file("f", 0);
            file.metadata.xattrs.insert(name.into(), [].into());
            assert!(matches!(refused(file), TarError::Attribute { .. }));
        }
        let target = EntryKind::Symlink {
            target: b"a\0b".as_slice().into(),
        };
        assert!(matches!(refused(entry("l", target)), TarError::Target(_)));
    }

    #[test]
    fn content_is_padded_to_blocks() {
        for (size, expected) in [(0, 0), (1, 511), (511, 1), (512, 0), (u64::MAX, 1)] {
            assert_eq!(padding(size), expected, "{size}");
        }
    }
}
