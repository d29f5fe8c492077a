//! What a layer of many files costs in memory and processor time, from the tar to the tree:
//!
//! ```text
//! cargo build --release -p kiln-store --example entries
//! target/release/examples/entries scan INDEX 1000000 10000
//! target/release/examples/entries tree INDEX
//! target/release/examples/entries write STORE 57000 4000
//! ```
//!
//! The first makes a tar of so many files in so many directories on the fly, scans it and writes its
//! index to INDEX. The second reads INDEX, makes a tree of it and a copy of that. The third writes a
//! layer of such files into a new store, as COPY does. Resident bytes are those of the kernel, for
//! each file, less what the process had at first; of the processor, those of the main thread count.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use oci::Compression;
use store::Store;
use store::layer::{
    Entry, EntryKind, EntryPath, Layer, LayerIndex, LayerOptions, LayerWriter, Limits, Metadata,
    ScanOptions, Tree, scan,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["scan", path, files, directories] => {
            let tar = Tar::new(files.parse()?, directories.parse()?);
            let mut meter = Meter::start(files.parse()?)?;
            let options = ScanOptions {
                compression: Compression::None,
                expected_blob: None,
                expected_diff_id: None,
                limits: Limits::default(),
                unpack: None,
            };
            let index = scan(tar, options)?.index;
            meter.tell("scan")?;
            let bytes = index.encode();
            meter.tell("encode")?;
            std::fs::write(path, bytes)?;
        }
        ["tree", path] => {
            let bytes = std::fs::read(path)?;
            let files = LayerIndex::decode(&bytes)?.entries.len();
            drop(bytes);
            let mut meter = Meter::start(files as u64)?;
            let bytes = std::fs::read(path)?;
            meter.tell("read")?;
            let index = Arc::new(LayerIndex::decode(&bytes)?);
            meter.tell("decode")?;
            drop(bytes);
            let tree = Tree::stack(&[index]);
            meter.tell("merge")?;
            let copy = tree.clone();
            meter.tell("copy")?;
            drop((tree, copy));
        }
        ["write", path, files, directories] => {
            let (files, directories): (u64, u64) = (files.parse()?, directories.parse()?);
            let store = Store::open(Path::new(path))?;
            let mut meter = Meter::start(files)?;
            let layer = write(&store, files, files.div_ceil(directories.max(1)).max(1))?;
            meter.tell("write")?;
            drop(Tree::stack(&[layer.index]));
            meter.tell("merge")?;
        }
        _ => {
            return Err(
                "scan INDEX FILES DIRECTORIES, tree INDEX or write STORE FILES DIRECTORIES".into(),
            );
        }
    }
    Ok(())
}

fn write(store: &Store, files: u64, of_each: u64) -> Result<Layer, Box<dyn Error>> {
    let options = LayerOptions {
        compression: Compression::Gzip,
        level: None,
        threads: NonZeroUsize::MIN,
    };
    let mut writer = LayerWriter::create(store, options)?;
    for file in 0..files {
        let directory = format!("folder/{:06}", file / of_each);
        if file.is_multiple_of(of_each) {
            writer.add(Entry {
                path: EntryPath::parse(directory.as_bytes())?,
                kind: EntryKind::Directory,
                metadata: Metadata::root_owned(0o755, 0),
            })?;
        }
        let path = EntryPath::parse(format!("{directory}/module-{file:07}.js").as_bytes())?;
        let content = format!("export const number = {file};\n");
        let metadata = Metadata::root_owned(0o644, file as i64 % 1_000);
        let bytes = &mut content.as_bytes();
        writer.add_file(path, metadata, content.len() as u64, None, bytes)?;
    }
    Ok(writer.finish()?)
}

/// Memory and time since the last stage.
struct Meter {
    files: u64,
    resident: u64,
    nanoseconds: u64,
}

impl Meter {
    fn start(files: u64) -> io::Result<Self> {
        let mut meter = Self {
            files: files.max(1),
            resident: 0,
            nanoseconds: 0,
        };
        meter.resident = status("VmRSS:")?;
        meter.begin()?;
        Ok(meter)
    }

    /// Forgets the peak so far.
    fn begin(&mut self) -> io::Result<()> {
        std::fs::write("/proc/self/clear_refs", "5")?;
        self.nanoseconds = processor()?;
        Ok(())
    }

    fn tell(&mut self, stage: &str) -> io::Result<()> {
        let each = |bytes: u64| bytes.saturating_sub(self.resident) / self.files;
        println!(
            "{stage:<8}peak {:>4} after {:>4} bytes for each file, {:>5} ms of processor",
            each(status("VmHWM:")?),
            each(status("VmRSS:")?),
            (processor()? - self.nanoseconds) / 1_000_000
        );
        self.begin()
    }
}

/// A line of /proc/self/status, in bytes.
fn status(name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(number.unwrap_or(0) * 1024)
}

/// Nanoseconds that the main thread ran.
fn processor() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let first = text.split_whitespace().next();
    Ok(first.and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// A tar that nobody has: a directory, then its files, each with a line in it.
struct Tar {
    files: u64,
    of_each: u64,
    next: u64,
    pending: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Tar {
    fn new(files: u64, directories: u64) -> Self {
        Self {
            files,
            of_each: files.div_ceil(directories.max(1)).max(1),
            next: 0,
            pending: Vec::new(),
            read: 0,
            ended: false,
        }
    }

    fn fill(&mut self) {
        self.pending.clear();
        self.read = 0;
        if self.next == self.files {
            if !std::mem::replace(&mut self.ended, true) {
                self.pending.resize(1_024, 0);
            }
            return;
        }
        let file = self.next;
        self.next += 1;
        let directory = format!("usr/lib/folder/{:06}/", file / self.of_each);
        if file.is_multiple_of(self.of_each) {
            self.header(&directory, b'5', 0o755, 0);
        }
        let content = format!("file {file}\n");
        let name = format!("{directory}module-{file:07}.txt");
        self.header(&name, b'0', 0o644, content.len());
        self.pending.extend_from_slice(content.as_bytes());
        self.pending
            .resize(self.pending.len().next_multiple_of(512), 0);
    }

    /// POSIX ustar.
    fn header(&mut self, name: &str, kind: u8, mode: u32, size: usize) {
        let mut block = [0; 512];
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "14712345670");
        put(148, "        ");
        put(257, "ustar");
        put(263, "00");
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.pending.extend_from_slice(&block);
    }
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.pending.len() {
            self.fill();
        }
        let rest = &self.pending[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}
