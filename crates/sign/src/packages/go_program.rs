//! What the Go compiler leaves in programs: the module that they were made of, and those that it
//! needed (Go, `debug/buildinfo`). The form that Go 1.18 brought; programs of older compilers
//! point at the text from elsewhere and say nothing here.
//!
//! Only two pieces of a program are looked at: its head says where the second one is.

use std::ops::Range;

use super::{Package, PackageKind, go};

/// Bytes of the head of a program that are needed.
pub const HEAD_BYTES: usize = 4096;
/// Programs of Go are not smaller, in bytes: the smallest has more than a million.
pub const PROGRAM_BYTES_MIN: u64 = 512 * 1024;
/// The most bytes behind the begin of the data that are searched, as Go's own reader has it.
const SEARCH_BYTES: u64 = 1024 * 1024;
/// The most bytes that the texts may have: those of programs with thousands of modules have less.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The headers of segments that are looked at.
const SEGMENTS_MAX: usize = 64;

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The texts stand behind the header.
const FLAG_INLINE: u8 = 2;
const HEADER_BYTES: usize = 32;
/// A mark before and behind the text on modules.
const MARK_BYTES: usize = 16;

/// Where in the file what Go leaves may be: the begin of the first segment that can be written to.
/// `None` where the head is of no program.
pub fn data(head: &[u8]) -> Option<Range<u64>> {
    let elf = Elf::read(head)?;
    let start = elf.writable_segment(head)?;
    // As long as what stands there, and what it may point to: the text lies right behind it.
    Some(start..start.checked_add(SEARCH_BYTES + TEXT_BYTES_MAX as u64)?)
}

/// The modules in a program, from the bytes at [`data`]; nothing when it is not of Go.
pub fn read(data: &[u8]) -> Vec<Package> {
    let search = &data[..data
        .len()
        .min(usize::try_from(SEARCH_BYTES).unwrap_or(usize::MAX))];
    // It is aligned to 16 bytes.
    let places = (0..search.len()).step_by(16);
    let mut found = places.filter(|place| search[*place..].starts_with(MAGIC));
    let texts = found.find_map(|place| texts(&data[place..]));
    texts
        .map(|(_, modules)| packages(&modules))
        .unwrap_or_default()
}

/// The version of the compiler, and the text on modules.
fn texts(data: &[u8]) -> Option<(String, String)> {
    if data.get(15)? & FLAG_INLINE == 0 {
        return None;
    }
    let (version, rest) = text(data.get(HEADER_BYTES..)?)?;
    let (modules, _) = text(rest)?;
    let inside = modules.get(MARK_BYTES..modules.len().checked_sub(MARK_BYTES)?)?;
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((lossy(version), lossy(inside)))
}

/// A text with its length before it, as a number of seven bits a byte.
fn text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for place in 0..5 {
        let byte = *data.get(place)?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            if length > TEXT_BYTES_MAX {
                return None;
            }
            let rest = &data[place + 1..];
            return Some((rest.get(..length)?, &rest[length..]));
        }
    }
    None
}

/// Lines of words with tabs between them: `mod` is the program's own module, `dep` one that it
/// needed, and `=>` what was taken instead of the one above.
fn packages(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["mod", name, version, ..] => packages.push(Package {
                kind: PackageKind::GoProgram,
                ..go::module(name, released(version))
            }),
            ["dep", name, version, ..] => packages.push(go::module(name, released(version))),
            ["=>", name, version, ..] => {
                let kind = packages.pop().map(|package| package.kind);
                packages.push(Package {
                    kind: kind.unwrap_or(PackageKind::Go),
                    ..go::module(name, released(version))
                });
            }
            _ => {}
        }
    }
    packages.retain(Package::is_usable);
    packages
}

/// `(devel)` is no version.
fn released(version: &str) -> &str {
    if version == "(devel)" { "" } else { version }
}

/// As much of an ELF header as is needed (elf(5)).
struct Elf {
    wide: bool,
    little: bool,
    table: u64,
    entry_bytes: u64,
    entries: usize,
}

impl Elf {
    fn read(head: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else {
            return None;
        };
        let (wide, little) = (class == 2, order == 1);
        let mut elf = Self {
            wide,
            little,
            table: 0,
            entry_bytes: 0,
            entries: 0,
        };
        let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        elf.table = elf.number(head, table, if wide { 8 } else { 4 })?;
        elf.entry_bytes = elf.number(head, size, 2)?;
        elf.entries = usize::try_from(elf.number(head, count, 2)?).ok()?;
        Some(elf)
    }

    /// The place in the file of the first segment that is loaded and can be read and written.
    fn writable_segment(&self, head: &[u8]) -> Option<u64> {
        const LOADED: u64 = 1;
        const EXECUTE_WRITE_READ: u64 = 7;
        const WRITE_READ: u64 = 6;
        for number in 0..self.entries.min(SEGMENTS_MAX) {
            let place = self.entry_bytes.checked_mul(number as u64)?;
            let place = usize::try_from(self.table.checked_add(place)?).ok()?;
            let (flags, offset) = if self.wide { (4, 8) } else { (24, 4) };
            let field = |at: usize, bytes: usize| {
                let place = place.checked_add(at)?;
                self.number(head, place, bytes)
            };
            let kind = field(0, 4)?;
            let flags = field(flags, 4)?;
            if kind == LOADED && flags & EXECUTE_WRITE_READ == WRITE_READ {
                return field(offset, if self.wide { 8 } else { 4 });
            }
        }
        None
    }

    fn number(&self, bytes: &[u8], place: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(place..place.checked_add(length)?)?;
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.little {
            true => bytes.iter().rev().fold(0, join),
            false => bytes.iter().fold(0, join),
        })
    }
}
