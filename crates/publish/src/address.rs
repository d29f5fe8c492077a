//! Where an image is, in one word: a name in a registry, or one of skopeo's transports
//! (containers-transports(5)).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci::{Digest, Reference};

/// A place that has an image, or gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name in a registry: `NAME`, or `docker://NAME`.
    Registry(Reference),
    /// An image of the store: `store:NAME`, or `store:DIGEST`.
    Store(StoreName),
    /// A directory with the OCI image layout: `oci:PATH[:TAG|@DIGEST]`.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image in it.
        choice: Choice,
    },
    /// The same as one tar: `oci-archive:FILE[:TAG|@DIGEST]`.
    LayoutArchive {
        /// The file.
        path: PathBuf,
        /// Which image in it.
        choice: Choice,
    },
    /// What `docker save` writes: `docker-archive:FILE[:NAME]`.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image in it.
        choice: Choice,
    },
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreName {
    /// By the name that it has there, or by the digest behind it.
    Reference(Reference),
    /// By its digest alone.
    Digest(Digest),
}

/// Which of the images of a layout or an archive.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The only one.
    #[default]
    Only,
    /// The one of this tag or name.
    Named(String),
    /// The one of this digest.
    Digest(Digest),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub advice: Option<String>,
}

/// The words in front of the colon that are not ours, and what does the same.
const OTHERS: [(&str, &str); 8] = [
    (
        "docker-daemon",
        "`docker save NAME -o FILE` and `docker-archive:FILE` take an image out of docker; `kiln load --to docker` brings one in",
    ),
    (
        "containers-storage",
        "`podman save --format oci-archive -o FILE NAME` and `oci-archive:FILE` take an image out of podman; `kiln load --to podman` brings one in",
    ),
    (
        "dir",
        "a directory is written and read with `oci:PATH`, which other programs understand too",
    ),
    (
        "containerd",
        "`ctr images export FILE NAME` and `oci-archive:FILE` take an image out of containerd; `kiln load --to containerd` brings one in",
    ),
    (
        "tarball",
        "build an image with `FROM scratch` and `ADD FILE /`",
    ),
    (
        "ostree",
        "kiln reads `oci:`, `oci-archive:` and `docker-archive:`",
    ),
    (
        "sif",
        "kiln reads `oci:`, `oci-archive:` and `docker-archive:`",
    ),
    (
        "atomic",
        "kiln reads `oci:`, `oci-archive:` and `docker-archive:`",
    ),
];

impl Address {
    /// The reference, where it is a registry's.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Store(_)
            | Self::Layout { .. }
            | Self::LayoutArchive { .. }
            | Self::DockerArchive { .. } => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((word, rest)) = text.split_once(':') else {
            return registry(text);
        };
        match word {
            "docker" if rest.starts_with("//") => registry(&rest[2..]),
            "docker" => Err(AddressError {
                message: format!("`{}` is not an address", cut(text)),
                advice: Some(format!(
                    "write `docker://{rest}`, or the name alone, or `docker.io/library/{text}` for an image called docker"
                )),
            }),
            "store" => match rest.parse::<Digest>() {
                Ok(digest) => Ok(Self::Store(StoreName::Digest(digest))),
                Err(_) => reference(rest).map(|name| Self::Store(StoreName::Reference(name))),
            },
            "oci" | "oci-archive" | "docker-archive" => {
                let (path, choice) = path_and_choice(word, rest)?;
                Ok(match word {
                    "oci" => Self::Layout { path, choice },
                    "oci-archive" => Self::LayoutArchive { path, choice },
                    _ => Self::DockerArchive { path, choice },
                })
            }
            other => match OTHERS.iter().find(|(known, _)| *known == other) {
                Some((known, advice)) => Err(AddressError {
                    message: format!("kiln has no transport `{known}:`"),
                    advice: Some((*advice).to_owned()),
                }),
                None => registry(text),
            },
        }
    }
}

fn registry(text: &str) -> Result<Address, AddressError> {
    if text.starts_with(['/', '.']) {
        return Err(AddressError {
            message: format!("`{}` is a path, and not the name of an image", cut(text)),
            advice: Some(format!(
                "write `oci:{0}` for an image layout, `oci-archive:{0}` or `docker-archive:{0}` for a file",
                cut(text)
            )),
        });
    }
    reference(text).map(Address::Registry)
}

fn reference(text: &str) -> Result<Reference, AddressError> {
    text.parse()
        .map_err(|error: oci::ReferenceError| AddressError {
            message: error.to_string(),
            advice: None,
        })
}

/// `PATH`, `PATH:NAME` or `PATH@DIGEST`. A path has no colon, as everywhere in skopeo.
fn path_and_choice(word: &str, text: &str) -> Result<(PathBuf, Choice), AddressError> {
    let (path, choice) = match (text.rsplit_once('@'), text.split_once(':')) {
        (Some((path, digest)), _) if digest.parse::<Digest>().is_ok() => {
            let digest = digest
                .parse()
                .map_err(|error: oci::DigestError| AddressError {
                    message: error.to_string(),
                    advice: None,
                })?;
            (path, Choice::Digest(digest))
        }
        (_, Some((path, ""))) => (path, Choice::Only),
        (_, Some((path, name))) => (path, Choice::Named(name.to_owned())),
        (_, None) => (text, Choice::Only),
    };
    if path.is_empty() {
        return Err(AddressError {
            message: format!("`{word}:` lacks a path"),
            advice: Some(format!("write `{word}:PATH`, or `{word}:PATH:NAME`")),
        });
    }
    Ok((path.into(), choice))
}

/// As messages show a text.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Store(StoreName::Reference(name)) => write!(f, "store:{name}"),
            Self::Store(StoreName::Digest(digest)) => write!(f, "store:{digest}"),
            Self::Layout { path, choice } => write!(f, "oci:{}{choice}", path.display()),
            Self::LayoutArchive { path, choice } => {
                write!(f, "oci-archive:{}{choice}", path.display())
            }
            Self::DockerArchive { path, choice } => {
                write!(f, "docker-archive:{}{choice}", path.display())
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Named(name) => write!(f, ":{name}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        match text.parse::<Address>() {
            Ok(address) => assert_eq!(address.to_string(), expected, "{text}"),
            Err(error) => {
                let found = format!("{error}; {}", error.advice.as_deref().unwrap_or_default());
                let wanted = expected.strip_prefix("error: ");
                assert!(
                    wanted.is_some_and(|wanted| found.contains(wanted)),
                    "{text}: {found}"
                );
            }
        }
    }

    #[test]
    fn addresses() {
        let digest = Digest::of(b"");
        check("alpine", "docker.io/library/alpine:latest");
        check("docker://alpine:3", "docker.io/library/alpine:3");
        check("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1");
        check("localhost:5000/a", "localhost:5000/a:latest");
        check("store:app", "store:docker.io/library/app:latest");
        check(&format!("store:{digest}"), &format!("store:{digest}"));
        check("oci:/tmp/a", "oci:/tmp/a");
        check("oci:a:1.0", "oci:a:1.0");
        check("oci:a:r.io/b:1", "oci:a:r.io/b:1");
        check(&format!("oci:a@{digest}"), &format!("oci:a@{digest}"));
        check("oci-archive:a.tar:x", "oci-archive:a.tar:x");
        check("docker-archive:a.tar:", "docker-archive:a.tar");
        check("docker-archive:a.tar:b:1", "docker-archive:a.tar:b:1");
    }

    #[test]
    fn what_is_no_address() {
        check("oci:", "error: lacks a path");
        check("docker:alpine", "error: docker://alpine");
        check("docker-daemon:a:1", "error: kiln load --to docker");
        check("containers-storage:a", "error: podman save");
        check("dir:/tmp/a", "error: oci:PATH");
        check("./a.tar", "error: docker-archive:./a.tar");
        check("/a/b", "error: oci:/a/b");
        check("https://r.io/a", "error: leave out `https://`");
        check("", "error: it is empty");
        check("store:", "error: it is empty");
    }
}
