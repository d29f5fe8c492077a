//! Where a build begins: the text of the Dockerfile, and the context with the
//! ignore file that belongs to it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use store::layer::EntryPath;

use crate::contexts;
use crate::copy::files;
use crate::error::BuildError;
use crate::place::{Place, Places};
use crate::ports::Ports;
use crate::regular_file;
use crate::request::{ContextSource, DockerfileSource};

/// A Dockerfile and how messages call it.
pub(crate) struct Text {
    pub name: String,
    pub text: String,
    /// Where it was read from, for the ignore file beside it.
    pub path: Option<PathBuf>,
}

/// The largest ignore file that is read, in bytes.
const IGNORE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where a build is made, in words that are the same for the next build there. Two checkouts are
/// two places.
pub(crate) fn place_name(context: &ContextSource, dockerfile: &Text) -> String {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let context = match context {
        ContextSource::Directory(path) | ContextSource::Archive(path) => {
            whole(path).display().to_string()
        }
        ContextSource::Http(address) => address.shown(),
        ContextSource::Git(address) => address.shown(),
        ContextSource::Stdin => "-".to_owned(),
        ContextSource::Empty => String::new(),
    };
    let dockerfile = dockerfile.path.as_deref().map(whole).unwrap_or_default();
    format!("{context}\n{}", dockerfile.display())
}

/// Reads the Dockerfile. `main` is the context that it belongs to.
pub(crate) async fn read_dockerfile(
    source: &DockerfileSource,
    main: &Place,
    places: &Places,
    ports: &Ports,
) -> Result<Text, BuildError> {
    let (name, bytes, path) = match source {
        DockerfileSource::Text { name, text } => (name.clone(), text.clone(), None),
        DockerfileSource::Http(address) => (
            address.shown(),
            places.dockerfile(address, ports).await?,
            None,
        ),
        DockerfileSource::Path(path) => {
            let (bytes, path) = read(path).map_err(|source| unreadable(path, source))?;
            (path.display().to_string(), bytes, Some(path))
        }
        DockerfileSource::InContext(path) => match main {
            Place::Fetched { .. } => {
                let bytes = read_fetched(main, path, ports)?;
                let bytes = bytes.ok_or_else(|| BuildError::Input {
                    message: format!("there is no Dockerfile {path} in {}", shown(main)),
                    hint: Some("--file is relative to the context when that is fetched".into()),
                    source: None,
                })?;
                (path.clone(), bytes, None)
            }
            Place::Nothing | Place::Directory(_) | Place::Text { .. } => {
                return Err(BuildError::Input {
                    message: format!("there is no Dockerfile {path} in {}", shown(main)),
                    hint: Some("the context is a text, which is the Dockerfile itself".into()),
                    source: None,
                });
            }
        },
        DockerfileSource::Default => match main {
            Place::Nothing => {
                return Err(BuildError::input(
                    "there is no Dockerfile: name one with --file",
                ));
            }
            Place::Text { shown, bytes } => (shown.clone(), bytes.clone(), None),
            Place::Fetched { shown, .. } => {
                let mut found = None;
                for name in ["Dockerfile", "dockerfile"] {
                    found = read_fetched(main, name, ports)?.map(|bytes| (name, bytes));
                    if found.is_some() {
                        break;
                    }
                }
                let (name, bytes) = found.ok_or_else(|| BuildError::Input {
                    message: format!("there is no Dockerfile in {shown}"),
                    hint: Some("name it with --file, relative to the context".into()),
                    source: None,
                })?;
                (name.to_owned(), bytes, None)
            }
            Place::Directory(directory) => {
                let path = directory.join("Dockerfile");
                let found = match read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        read(&directory.join("dockerfile"))
                    }
                    other => other,
                };
                let (bytes, path) = found.map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => BuildError::Input {
                        message: format!("there is no Dockerfile in {}", directory.display()),
                        hint: Some(
                            "name it with --file, or build in the directory that has it".into(),
                        ),
                        source: None,
                    },
                    _ => unreadable(&path, source),
                })?;
                let name = path
                    .strip_prefix(directory)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                (name, bytes, Some(path))
            }
        },
    };
    let text = as_text(&name, bytes)?;
    Ok(Text { name, text, path })
}

fn shown(place: &Place) -> String {
    match place {
        Place::Nothing => "the empty context".to_owned(),
        Place::Directory(directory) => directory.display().to_string(),
        Place::Fetched { shown, .. } | Place::Text { shown, .. } => shown.clone(),
    }
}

/// A file of a fetched context: links in it are followed, and never lead out of it (F04).
fn read_fetched(place: &Place, path: &str, ports: &Ports) -> Result<Option<Vec<u8>>, BuildError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Input {
        message: format!("could not read {path} of {}", shown(place)),
        hint: None,
        source: Some(source),
    };
    let Place::Fetched { .. } = place else {
        return Ok(None);
    };
    let context = contexts::open(place, &IgnoreText::default(), &ports.store)?;
    let path = EntryPath::parse(path.as_bytes()).map_err(|error| failed(error.into()))?;
    let found = files::follow(&context, &path).map_err(|error| failed(error.into()))?;
    let Some((real, _)) = found else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let file = context.open_file(&real);
    let read = file.and_then(|file| {
        file.take(dockerfile::TEXT_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
    });
    read.map_err(|error| failed(error.into()))?;
    Ok(Some(bytes))
}

/// What is no text is said to be none, instead of word by word why its bytes are no instructions.
fn as_text(name: &str, bytes: Vec<u8>) -> Result<String, BuildError> {
    let not_text = |before: &[u8], what: &str| {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n');
        let column = before.len() - start.map_or(0, |newline| newline + 1) + 1;
        BuildError::Input {
            message: format!("{name}:{line}:{column}: this is not a text: {what}"),
            hint: Some("a Dockerfile is a text in UTF-8; is this the right file?".to_owned()),
            source: None,
        }
    };
    // What is too large is cut off anywhere; the parser says that it is too large.
    if bytes.len() <= dockerfile::TEXT_BYTES_MAX
        && let Some(position) = bytes.iter().position(|byte| *byte == 0)
    {
        return Err(not_text(&bytes[..position], "a byte is zero"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let position = error.utf8_error().valid_up_to();
        let byte = error.as_bytes()[position];
        let what = format!("the byte 0x{byte:02x} is not UTF-8");
        not_text(&error.as_bytes()[..position], &what)
    })
}

fn read(path: &Path) -> io::Result<(Vec<u8>, PathBuf)> {
    // One more than is allowed is read, so that too much is seen as that by the parser.
    let bytes = regular_file::read(path, dockerfile::TEXT_BYTES_MAX as u64)?;
    Ok((bytes, path.to_owned()))
}

fn unreadable(path: &Path, source: io::Error) -> BuildError {
    BuildError::Input {
        message: format!("could not read the Dockerfile {}", path.display()),
        hint: None,
        source: Some(source.into()),
    }
}

/// The ignore file of a context.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct IgnoreText {
    /// How messages call it.
    pub name: String,
    pub text: String,
}

/// Reads the ignore file of a directory, or the one `beside` the Dockerfile where that is there.
pub(crate) fn read_ignore_file(
    directory: &Path,
    beside: Option<PathBuf>,
) -> Result<IgnoreText, BuildError> {
    for path in beside.into_iter().chain([directory.join(".dockerignore")]) {
        match regular_file::read(&path, IGNORE_BYTES_MAX) {
            Ok(text) if text.len() as u64 > IGNORE_BYTES_MAX => {
                return Err(BuildError::input(format!(
                    "{} is larger than {IGNORE_BYTES_MAX} bytes",
                    path.display()
                )));
            }
            Ok(text) => {
                let name = path.strip_prefix(directory).unwrap_or(&path);
                return Ok(IgnoreText {
                    name: name.display().to_string(),
                    text: String::from_utf8_lossy(&text).into_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(BuildError::Input {
                    message: format!("could not read {}", path.display()),
                    hint: None,
                    source: Some(error.into()),
                });
            }
        }
    }
    Ok(IgnoreText::default())
}
