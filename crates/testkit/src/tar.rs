//! Tar streams by hand: ustar headers with PAX records for what does not fit
//! (POSIX.1-2017, "pax Interchange Format").
//!
//! Written independently of the code under test, so that a mistake there is
//! not repeated here. It writes what it is told, hostile names included.

use std::collections::BTreeMap;

/// One entry of a tar stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the stream, without the `/` behind a directory.
    pub path: Vec<u8>,
    /// The type byte: `0` file, `1` hard link, `2` symbolic link, `3` and `4`
    /// devices, `5` directory, `6` FIFO.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time, seconds; a fraction is cut off.
    pub mtime: i64,
    /// What a link points at.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The content of a file.
    pub content: Vec<u8>,
}

const BLOCK: usize = 512;

/// Largest number that an 11-digit octal field holds.
const OCTAL_MAX: u64 = 0o777_7777_7777;

impl Entry {
    /// The path as text, for people and comparisons.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// One line: type, mode, owner, size or target, name.
    pub fn line(&self) -> String {
        let what = match self.kind {
            b'1' | b'2' => format!("-> {}", String::from_utf8_lossy(&self.link)),
            b'3' | b'4' => format!("{},{}", self.device.0, self.device.1),
            _ => self.content.len().to_string(),
        };
        let kind = match self.kind {
            b'0' => '-',
            b'1' => 'h',
            b'2' => 'l',
            b'3' => 'c',
            b'4' => 'b',
            b'5' => 'd',
            b'6' => 'p',
            other => char::from(other),
        };
        let (mode, uid, gid, name) = (self.mode, self.uid, self.gid, self.name());
        format!("{kind}{mode:04o} {uid}:{gid} {what} {name}")
    }
}

/// Writes a whole stream, the two zero blocks at its end included.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut records = Vec::new();
        let mut path = entry.path.clone();
        if entry.kind == b'5' {
            path.push(b'/');
        }
        if path.len() > 100 {
            record(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 {
            record(&mut records, b"linkpath", &entry.link);
        }
        for (name, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > 0o777_7777 {
                record(&mut records, name, id.to_string().as_bytes());
            }
        }
        if !(0..=OCTAL_MAX as i64).contains(&entry.mtime) {
            record(&mut records, b"mtime", entry.mtime.to_string().as_bytes());
        }
        for (name, value) in &entry.xattrs {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            record(&mut records, &key, value);
        }
        if !records.is_empty() {
            let pax = Entry {
                path: b"pax".to_vec(),
                kind: b'x',
                mode: 0o644,
                content: records,
                ..Entry::default()
            };
            block(&mut out, &pax, b"pax");
        }
        block(&mut out, entry, &path);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// `LENGTH key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while body + length.to_string().len() != length {
        length += 1;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn block(out: &mut Vec<u8>, entry: &Entry, path: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8], max: usize| {
        let bytes = &bytes[..bytes.len().min(max)];
        header[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let octal = |number: u64, digits: usize| format!("{number:0digits$o}").into_bytes();
    put(0, path, 100);
    put(100, &octal(u64::from(entry.mode), 7), 7);
    put(108, &octal(entry.uid.min(0o777_7777), 7), 7);
    put(116, &octal(entry.gid.min(0o777_7777), 7), 7);
    put(124, &octal(entry.content.len() as u64, 11), 11);
    put(
        136,
        &octal(entry.mtime.clamp(0, OCTAL_MAX as i64) as u64, 11),
        11,
    );
    put(148, b"        ", 8);
    put(156, &[entry.kind], 1);
    put(157, &entry.link, 100);
    put(257, b"ustar\x0000", 8);
    put(329, &octal(u64::from(entry.device.0), 7), 7);
    put(337, &octal(u64::from(entry.device.1), 7), 7);
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&entry.content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// Reads a whole stream. GNU long names and base-256 numbers are understood
/// too; a stream that is not tar is an error in words.
pub fn read(mut stream: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut pax = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    let (mut long_path, mut long_link) = (None, None);
    while let Some(header) = stream.get(..BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        check_sum(header)?;
        let record = |pax: &BTreeMap<Vec<u8>, Vec<u8>>, key: &str| {
            let value = pax.get(key.as_bytes())?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        let kind = header[156];
        let size = match record(&pax, "size") {
            Some(text) if !matches!(kind, b'x' | b'g') => {
                text.parse().map_err(|_| format!("PAX size {text}"))?
            }
            _ => number(&header[124..136])?,
        };
        let size = usize::try_from(size).map_err(|_| "size too large".to_owned())?;
        let content = (stream.get(BLOCK..BLOCK + size))
            .ok_or("stream ends inside an entry")?
            .to_vec();
        stream = stream
            .get(BLOCK + size.next_multiple_of(BLOCK)..)
            .unwrap_or(&[]);
        match kind {
            b'x' => {
                pax = records(&content)?;
                continue;
            }
            b'g' => continue,
            b'L' => {
                long_path = Some(until_nul(&content));
                continue;
            }
            b'K' => {
                long_link = Some(until_nul(&content));
                continue;
            }
            _ => {}
        }
        let prefix = until_nul(&header[345..500]);
        let name = until_nul(&header[..100]);
        let plain = match (&header[257..262], prefix.is_empty()) {
            (b"ustar", false) => [prefix.as_slice(), b"/", &name].concat(),
            _ => name,
        };
        let mut path = (pax.get(&b"path"[..]).cloned())
            .or(long_path.take())
            .unwrap_or(plain);
        if path.len() > 1 && path.last() == Some(&b'/') {
            path.pop();
        }
        let id = |key: &str, at: usize| match record(&pax, key) {
            Some(text) => text.parse().map_err(|_| format!("PAX {key} {text}")),
            None => number(&header[at..at + 8]),
        };
        let mtime = match record(&pax, "mtime") {
            Some(text) => (text.split('.').next().and_then(|text| text.parse().ok()))
                .ok_or_else(|| format!("PAX mtime {text}"))?,
            None => number(&header[136..148])? as i64,
        };
        let xattrs = (pax.iter())
            .filter_map(|(key, value)| {
                Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
            })
            .collect();
        let device = |at: usize| number(&header[at..at + 8]).map(|number| number as u32);
        entries.push(Entry {
            path,
            kind: if kind == 0 { b'0' } else { kind },
            mode: number(&header[100..108])? as u32,
            uid: id("uid", 108)?,
            gid: id("gid", 116)?,
            mtime,
            link: (pax.get(&b"linkpath"[..]).cloned())
                .or(long_link.take())
                .unwrap_or_else(|| until_nul(&header[157..257])),
            device: (device(329)?, device(337)?),
            xattrs,
            content,
        });
        pax.clear();
    }
    Err("stream ends without zero blocks".into())
}

fn check_sum(header: &[u8]) -> Result<(), String> {
    let sum = (header.iter().enumerate())
        .map(|(at, byte)| match at {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        })
        .sum::<u64>();
    let written = number(&header[148..156])?;
    match sum == written {
        true => Ok(()),
        false => Err(format!("header sum is {sum}, written {written}")),
    }
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes[..end].to_vec()
}

/// An octal field, or GNU's base-256 for what does not fit.
fn number(field: &[u8]) -> Result<u64, String> {
    if field[0] & 0x80 != 0 {
        let first = u64::from(field[0] & 0x7f);
        return Ok((field[1..].iter()).fold(first, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let text = String::from_utf8_lossy(field);
    let text = text.trim_matches(['\0', ' ']);
    if text.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(text, 8).map_err(|_| format!("`{text}` is not octal"))
}

fn records(mut bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let broken = || "broken PAX record".to_owned();
        let space = bytes
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(broken)?;
        let length: usize = (std::str::from_utf8(&bytes[..space]).ok())
            .and_then(|text| text.parse().ok())
            .ok_or_else(broken)?;
        let body = bytes.get(space + 1..length).ok_or_else(broken)?;
        let body = body.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = body
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(broken)?;
        found.insert(body[..equals].to_vec(), body[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entry = |path: &str, kind: u8| Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            ..Entry::default()
        };
        let entries = [
            entry("d", b'5'),
            Entry {
                content: b"hello".to_vec(),
                uid: 1_000_000_000,
                mtime: -1,
                xattrs: [(b"user.a".to_vec(), b"1\n2=\0".to_vec())].into(),
                ..entry(&"x".repeat(300), b'0')
            },
            Entry {
                link: "y".repeat(101).into(),
                ..entry("l", b'2')
            },
            Entry {
                device: (5, 1),
                ..entry("c", b'3')
            },
        ];
        let read = read(&write(&entries)).unwrap();
        // A negative time is cut to zero in the ustar field; the record has it.
        assert_eq!(read, entries);
    }

    #[test]
    fn broken_streams() {
        let mut stream = write(&[Entry {
            path: b"a".to_vec(),
            kind: b'0',
            ..Entry::default()
        }]);
        assert!(read(&stream[..512]).is_err());
        stream[0] = b'b';
        assert!(read(&stream).unwrap_err().contains("sum"));
    }
}
