//! The build context: a directory of this machine, seen through its ignore
//! file. It is only ever read, and nothing that is ignored is opened. What was
//! fetched for this build is such a directory too, without an ignore file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dockerfile::ignore::{IgnoreFile, Verdict};
use store::dir::{Dir, FileKind, Stat, xattrs};
use store::layer::{ContentHash, ContentHasher, EntryPath, Metadata};
use store::stat_cache::StatCache;

use super::files::{Files, FilesError, LinkGroup, Named, Node, NodeKind};

/// An open build context.
pub(crate) struct Context {
    root: Dir,
    ignore: IgnoreFile,
    ignore_name: String,
    hashes: Mutex<StatCache>,
    /// Hashes of files that changed too recently to be known by their times: what a key says of
    /// them must be what a layer gets.
    recent: Mutex<HashMap<EntryPath, (Stat, ContentHash)>>,
    modes: Modes,
    /// What is known of its files is of use to the next build.
    lasts: bool,
    /// In seconds since 1970.
    modified: i64,
}

/// What the permissions of files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modes {
    /// What they are.
    AsTheyAre,
    /// Whether a file is a program, and nothing else: all that git knows of a file (C25).
    ProgramOrNot,
}

/// Which line of an ignore file keeps a path out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exclusion {
    /// How the ignore file is called.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The pattern there.
    pub pattern: String,
}

/// Bytes read at once while hashing.
const READ_BYTES: usize = 128 * 1024;

/// So few files are read before other threads have started.
const READ_AHEAD_MIN: usize = 64;
/// Files that a thread takes at once.
const TAKEN_AT_ONCE: usize = 16;
/// Threads that read one context.
const READERS_MAX: usize = 16;

impl Context {
    /// Opens a directory as context.
    ///
    /// # Errors
    ///
    /// When the directory cannot be opened.
    pub(crate) fn open(
        path: &Path,
        ignore: IgnoreFile,
        ignore_name: String,
        hashes: StatCache,
    ) -> io::Result<Self> {
        Ok(Self {
            root: Dir::open(path)?,
            ignore,
            ignore_name,
            hashes: Mutex::new(hashes),
            recent: Mutex::default(),
            modes: Modes::AsTheyAre,
            lasts: true,
            // A checkout's times are accidents: what comes from a context has the build's epoch,
            // which is the latest time that anything in a layer may have.
            modified: i64::MAX,
        })
    }

    /// Opens a directory that this build has filled with what it fetched: nothing is ignored, and
    /// everything was changed at `modified`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be opened.
    pub(crate) fn fetched(
        path: &Path,
        modes: Modes,
        modified: i64,
        hashes: StatCache,
    ) -> io::Result<Self> {
        let nothing = (IgnoreFile::default(), String::new());
        Ok(Self {
            modes,
            lasts: false,
            modified,
            ..Self::open(path, nothing.0, nothing.1, hashes)?
        })
    }

    /// What is left out of it.
    pub(crate) fn ignore(&self) -> &IgnoreFile {
        &self.ignore
    }

    /// Ends the use of the context: what is known of its files is kept for the
    /// next build.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn close(self) -> Result<(), store::DiskError> {
        if !self.lasts {
            return Ok(());
        }
        self.hashes
            .into_inner()
            .expect("no panics under this lock")
            .save()
    }

    /// The directory that it is.
    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// Opens what was found to be a regular file of the context.
    pub(crate) fn open_file(&self, path: &EntryPath) -> io::Result<std::fs::File> {
        self.root.open_seen_file(path.as_bytes())
    }

    /// Why a path that was not found is not there, if it is there but ignored.
    pub(crate) fn exclusion(&self, pattern: &str) -> Option<Exclusion> {
        let path = EntryPath::parse(pattern.as_bytes()).ok()?;
        let parent = self.root.open_dir(path.parent()?.as_bytes()).ok()?;
        if !parent.exists(path.name()).ok()? {
            return None;
        }
        let verdict = self.ignore.matches(path.as_bytes());
        let (true, Some(line), Some(pattern)) = (verdict.ignored, verdict.line, verdict.pattern)
        else {
            return None;
        };
        Some(Exclusion {
            file: self.ignore_name.clone(),
            line,
            pattern: pattern.to_owned(),
        })
    }

    /// The hash of a file that has this state, where it was read before.
    fn known(&self, path: &EntryPath, stamp: &Stat) -> Option<ContentHash> {
        let mut hashes = self.hashes.lock().expect("no panics under this lock");
        if let Some(known) = hashes.get(stamp) {
            return Some(known);
        }
        drop(hashes);
        let recent = self.recent.lock().expect("no panics under this lock");
        let (seen, known) = recent.get(path)?;
        (seen == stamp).then_some(*known)
    }

    /// Reads those of some files that have to be read, on several threads, so that
    /// [`Files::content`] knows them. What cannot be read is for whoever asks for it.
    pub(crate) fn read_ahead<'f>(
        &self,
        files: impl Iterator<Item = (&'f EntryPath, &'f Node)>,
        threads: NonZeroUsize,
    ) {
        let unknown: Vec<_> = files
            .filter(|(path, node)| match &node.kind {
                NodeKind::File {
                    stamp: Some(stamp), ..
                } => self.known(path, stamp).is_none(),
                _ => false,
            })
            .collect();
        if unknown.len() < READ_AHEAD_MIN || threads == NonZeroUsize::MIN {
            return;
        }
        let next = AtomicUsize::new(0);
        let read = || {
            loop {
                let first = next.fetch_add(TAKEN_AT_ONCE, Ordering::Relaxed);
                let Some(rest) = unknown.get(first..).filter(|rest| !rest.is_empty()) else {
                    return;
                };
                for (path, node) in rest.iter().take(TAKEN_AT_ONCE) {
                    let _ = self.content(path, node);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.get().min(READERS_MAX) {
                // Without a further thread the one there is does it all.
                let _ = std::thread::Builder::new().spawn_scoped(scope, read);
            }
            read();
        });
    }

    fn node(
        &self,
        directory: &Dir,
        name: &[u8],
        path: &EntryPath,
        stat: &Stat,
        verdict: Verdict<'_>,
    ) -> Result<Option<Node>, FilesError> {
        let failed = |source| FilesError::Read {
            path: path.clone(),
            source,
        };
        let mut shadow = false;
        if verdict.ignored {
            if stat.kind != FileKind::Directory
                || !self.ignore.may_contain_included(path.as_bytes(), verdict)
            {
                return Ok(None);
            }
            shadow = true;
        }
        let kind = match stat.kind {
            FileKind::Directory => NodeKind::Directory,
            FileKind::File => NodeKind::File {
                size: stat.size,
                link: (stat.links > 1).then_some(LinkGroup::Inode(stat.device, stat.inode)),
                stamp: Some(*stat),
            },
            FileKind::Symlink => NodeKind::Symlink(directory.read_link(name).map_err(failed)?),
            FileKind::CharacterDevice => NodeKind::CharacterDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::BlockDevice => NodeKind::BlockDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::Fifo => NodeKind::Fifo,
            FileKind::Socket => NodeKind::Socket,
            FileKind::Unknown => return Err(failed(io::Error::other("it is of no known kind"))),
        };
        let mut attributes = BTreeMap::new();
        // Layers hold no attribute but this one, and it means something for programs only:
        // asking every file would cost more than all the rest of the walk.
        if stat.kind == FileKind::File && stat.mode & 0o111 != 0 {
            let file = directory.open_seen_file(name).map_err(failed)?;
            attributes = xattrs(&file).map_err(failed)?;
            attributes.retain(|name, _| &**name == b"security.capability");
        }
        let mode = match (self.modes, stat.kind) {
            (Modes::ProgramOrNot, FileKind::File) if stat.mode & 0o111 == 0 => 0o644,
            (Modes::ProgramOrNot, FileKind::File | FileKind::Directory) => 0o755,
            (Modes::ProgramOrNot | Modes::AsTheyAre, _) => stat.mode,
        };
        let metadata = Metadata {
            mode,
            uid: 0,
            gid: 0,
            mtime: self.modified,
            xattrs: attributes,
        };
        Ok(Some(Node {
            kind,
            metadata,
            shadow,
        }))
    }
}

impl Files for Context {
    fn lookup(&self, path: &EntryPath) -> Result<Option<Node>, FilesError> {
        let absent = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        };
        let failed = |source| FilesError::Read {
            path: path.clone(),
            source,
        };
        let Some(parent) = path.parent() else {
            let metadata = Metadata::root_owned(0o755, self.modified);
            return Ok(Some(Node {
                kind: NodeKind::Directory,
                metadata,
                shadow: false,
            }));
        };
        let directory = match self.root.open_dir(parent.as_bytes()) {
            Err(error) if absent(&error) => return Ok(None),
            other => other.map_err(failed)?,
        };
        let stat = match directory.stat(path.name()) {
            Err(error) if absent(&error) => return Ok(None),
            other => other.map_err(failed)?,
        };
        self.node(
            &directory,
            path.name(),
            path,
            &stat,
            self.ignore.matches(path.as_bytes()),
        )
    }

    fn list(
        &self,
        path: &EntryPath,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<Named>, FilesError> {
        let failed = |source| FilesError::Read {
            path: path.clone(),
            source,
        };
        let directory = self.root.open_dir(path.as_bytes()).map_err(failed)?;
        let mut names = directory.read_dir_once().map_err(failed)?;
        names.retain(|entry| wanted(entry.name.as_bytes()));
        names.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        let above = self.ignore.matches(path.as_bytes());
        let mut nodes = Vec::with_capacity(names.len());
        for entry in names {
            let name = entry.name.as_bytes();
            let child = path.join(name)?;
            let verdict = self.ignore.matches_below(above, child.as_bytes());
            if verdict.ignored && !matches!(entry.kind, FileKind::Directory | FileKind::Unknown) {
                continue;
            }
            // No layer can hold one, and what listens there now is of no use in an image. Only
            // who names one is told.
            if entry.kind == FileKind::Socket {
                continue;
            }
            let stat = directory.stat(name).map_err(|source| FilesError::Read {
                path: child.clone(),
                source,
            })?;
            if let Some(node) = self.node(&directory, name, &child, &stat, verdict)? {
                nodes.push((name.into(), node));
            }
        }
        Ok(nodes)
    }

    fn content(&self, path: &EntryPath, node: &Node) -> Result<ContentHash, FilesError> {
        let failed = |source| FilesError::Read {
            path: path.clone(),
            source,
        };
        let NodeKind::File {
            stamp: Some(stamp), ..
        } = &node.kind
        else {
            return Err(failed(io::Error::other("it is not a regular file")));
        };
        if let Some(known) = self.known(path, stamp) {
            return Ok(known);
        }
        let mut file = self.open_file(path).map_err(failed)?;
        let mut left = stamp.size;
        let mut hash = ContentHasher::default();
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                match file.read(buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        hash.update(&buffer[..count]);
                        left = left.saturating_sub(count as u64);
                        // All that was announced, and the kernel had no more for the room there
                        // was. What comes now, the copy notices.
                        if left == 0 && count < buffer.len() {
                            return Ok(());
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
        })?;
        let content = hash.finish();
        let mut hashes = self.hashes.lock().expect("no panics under this lock");
        hashes.put(stamp, content);
        if hashes.get(stamp).is_none() {
            self.recent
                .lock()
                .expect("no panics under this lock")
                .insert(path.clone(), (*stamp, content));
        }
        Ok(content)
    }
}
