//! Contexts become directories of this machine: those that are elsewhere are fetched, archives
//! are unpacked, both once and into scratch. A directory stays where it is.

mod unpack;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerfile::remote::{GitAddress, HttpAddress};
use store::layer::{Archive, Limits};
use store::scratch::Scratch;

use crate::copy::context::Modes;
use crate::error::BuildError;
use crate::interrupt::Interrupt;
use crate::ports::Ports;
use crate::regular_file;
use crate::remote::{RemoteError, Remotes, WantedFile, context_source};
use crate::request::ContextSource;
use crate::secret::Secrets;

/// The most that is read of an archive from stdin, in bytes: 64 GiB, as much as may be in it.
const STDIN_BYTES_MAX: u64 = 64 << 30;

/// A context on this machine.
#[derive(Debug)]
pub(crate) enum Place {
    /// There is none.
    Nothing,
    /// The user's own directory, with its ignore file.
    Directory(PathBuf),
    /// What was fetched or unpacked for this build: no ignore file is heeded (D7).
    Fetched {
        directory: PathBuf,
        modes: Modes,
        /// How messages call it.
        shown: String,
    },
    /// No archive, so it can only be a Dockerfile.
    Text { shown: String, bytes: Vec<u8> },
}

/// Brings contexts to this machine.
pub(crate) struct Places {
    pub scratch: Arc<Scratch>,
    pub remotes: Arc<Remotes>,
    interrupt: Interrupt,
}

impl Places {
    /// `secrets` say who we are at git servers.
    pub(crate) fn new(ports: &Ports, secrets: &Secrets) -> Result<Self, BuildError> {
        let scratch = ports
            .store
            .scratch()
            .map_err(|source| BuildError::failed("the disk failed", source))?;
        let scratch = Arc::new(scratch);
        let remotes = Remotes::new(
            ports.store.clone(),
            Arc::clone(&scratch),
            ports.post.clone(),
            Arc::clone(&ports.reporter),
            secrets.clone(),
        );
        Ok(Self {
            scratch,
            remotes: Arc::new(remotes),
            interrupt: ports.interrupt.clone(),
        })
    }

    /// Brings one context, unless the user interrupts; of a repository without `.git`, unless that
    /// is to be kept.
    pub(crate) async fn bring(
        &self,
        source: &ContextSource,
        keep_git_dir: bool,
        ports: &Ports,
    ) -> Result<Place, BuildError> {
        tokio::select! {
            place = self.bring_one(source, keep_git_dir) => place,
            () = ports.interrupt.triggered() => Err(BuildError::Interrupted),
        }
    }

    /// A Dockerfile behind an address.
    pub(crate) async fn dockerfile(
        &self,
        address: &HttpAddress,
        ports: &Ports,
    ) -> Result<Vec<u8>, BuildError> {
        let (_, path) = tokio::select! {
            fetched = self.file(address) => fetched?,
            () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
        };
        read_text(&path).map_err(|source| unreadable(&address.shown(), source))
    }

    async fn bring_one(
        &self,
        source: &ContextSource,
        keep_git_dir: bool,
    ) -> Result<Place, BuildError> {
        match source {
            ContextSource::Empty => Ok(Place::Nothing),
            ContextSource::Directory(directory) => Ok(Place::Directory(directory.clone())),
            ContextSource::Archive(path) => {
                let shown = path.display().to_string();
                let place = self.unpacked(path.clone(), shown.clone()).await?;
                match place {
                    Place::Text { .. } => Err(BuildError::Input {
                        message: format!(
                            "the context {shown} is neither a directory nor a tar archive"
                        ),
                        hint: Some("to name a Dockerfile, use --file".to_owned()),
                        source: None,
                    }),
                    place @ (Place::Nothing | Place::Directory(_) | Place::Fetched { .. }) => {
                        Ok(place)
                    }
                }
            }
            ContextSource::Stdin => {
                let spool = self.scratch.directory().map_err(disk)?.join("stdin");
                let target = spool.clone();
                let spooled = away(move || spool_stdin(&target)).await;
                spooled
                    .and_then(|spooled| spooled)
                    .map_err(|source| unreadable("stdin", source))?;
                self.unpacked(spool, "stdin".to_owned()).await
            }
            ContextSource::Http(address) => {
                let (shown, path) = self.file(address).await?;
                self.unpacked(path, shown).await
            }
            ContextSource::Git(address) => self.commit(address, keep_git_dir).await,
        }
    }

    async fn file(&self, address: &HttpAddress) -> Result<(String, PathBuf), BuildError> {
        let wanted = WantedFile {
            url: &address.url,
            checksum: None,
        };
        let fetched = self.remotes.content(wanted, "context").await;
        let (_, directory) = fetched.map_err(unfetched)?;
        Ok((address.shown(), directory.join("context")))
    }

    async fn commit(&self, address: &GitAddress, keep_git_dir: bool) -> Result<Place, BuildError> {
        let source = context_source(address, keep_git_dir);
        let directory = self.remotes.check_out(&source).await.map_err(unfetched)?;
        Ok(Place::Fetched {
            directory,
            modes: Modes::ProgramOrNot,
            shown: address.shown(),
        })
    }

    /// What a file holds: the tree of an archive, by its content and not its name, or a text.
    async fn unpacked(&self, path: PathBuf, shown: String) -> Result<Place, BuildError> {
        let directory = self.scratch.directory().map_err(disk)?;
        let interrupt = self.interrupt.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            let file = regular_file::open(&path).map_err(|source| unreadable(&shown, source))?;
            let file = UntilInterrupted { file, interrupt };
            let archive = Archive::open(file, Limits::default());
            let refused = |source: unpack::UnpackError| BuildError::Input {
                message: format!("the context {shown} cannot be unpacked"),
                hint: None,
                source: Some(source.into()),
            };
            match archive.map_err(|error| refused(error.into()))? {
                Some(archive) => unpack::unpack(archive, &directory).map_err(refused)?,
                None => {
                    let bytes = read_text(&path).map_err(|source| unreadable(&shown, source))?;
                    return Ok(Place::Text { shown, bytes });
                }
            }
            Ok(Place::Fetched {
                directory,
                modes: Modes::AsTheyAre,
                shown,
            })
        });
        unpacked.await.expect("unpacking does not panic")
    }
}

/// What could not be fetched, as an error of the build.
fn unfetched(error: RemoteError) -> BuildError {
    let (message, hint) = (error.to_string(), error.advice());
    let source: Option<Box<dyn std::error::Error + Send + Sync>> = match error.is_input() {
        true => {
            let source = crate::failure::source_of(error);
            return BuildError::Input {
                message,
                hint,
                source,
            };
        }
        false => crate::failure::source_of(error),
    };
    BuildError::Failed {
        message,
        hint,
        source,
    }
}

fn unreadable(shown: &str, source: io::Error) -> BuildError {
    BuildError::Input {
        message: format!("could not read {shown}"),
        hint: None,
        source: Some(source.into()),
    }
}

fn disk(source: store::DiskError) -> BuildError {
    BuildError::failed("the disk failed", source)
}

/// One byte more than a Dockerfile may have, so that too much is seen as that by the parser.
fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(dockerfile::TEXT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Does something that may wait without end on a thread that nobody waits for: the end of the
/// program does not wait for it either, as it would for a thread of the runtime.
async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // Nobody waits any more when the user has interrupted.
            let _ = done.send(work());
        })?;
    outcome.await.map_err(io::Error::other)
}

/// An archive that ends when the user interrupts: whoever unpacks it would go on to its end.
struct UntilInterrupted {
    file: File,
    interrupt: Interrupt,
}

impl Read for UntilInterrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.is_triggered() {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buffer)
    }
}

fn spool_stdin(target: &Path) -> io::Result<()> {
    let mut file = File::create_new(target)?;
    let mut input = io::stdin().lock().take(STDIN_BYTES_MAX + 1);
    let bytes = io::copy(&mut input, &mut file)?;
    if bytes > STDIN_BYTES_MAX {
        let message = format!("it has more than {STDIN_BYTES_MAX} bytes");
        return Err(io::Error::other(message));
    }
    Ok(())
}
