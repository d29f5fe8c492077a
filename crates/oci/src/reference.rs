//! Names of images: `registry/repository:tag@digest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// A registry and a path in it. Made by parsing, with Docker's defaults
/// applied: `alpine` is `docker.io/library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: Box<str>,
    path: Box<str>,
}

/// A name for a manifest that can be moved (distribution specification,
/// "Pulling manifests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// The name of an image: where it is, and which one it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    /// The text as given, cut to 200 characters.
    pub text: String,
    /// What is wrong with which part.
    pub reason: String,
}

const REFERENCE_BYTES_MAX: usize = 4096;
/// Distribution's grammar: the name without the registry.
const PATH_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

impl Repository {
    /// The host, and the port where there is one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A reference to a digest in this repository.
    pub fn at_digest(&self, digest: Digest) -> Reference {
        Reference {
            repository: self.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// A reference to a tag in this repository.
    pub fn at_tag(&self, tag: Tag) -> Reference {
        Reference {
            repository: self.clone(),
            tag: Some(tag),
            digest: None,
        }
    }

    /// Whether both stand in the same registry, so that a blob of one can be
    /// mounted into the other.
    pub fn same_registry(&self, other: &Self) -> bool {
        self.registry == other.registry
    }
}

impl Tag {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if there is one. A reference without tag and digest was given
    /// `latest` when it was parsed.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, which wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same reference, bound to a digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// What follows `/manifests/` in a request.
    pub fn manifest_selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag.as_str(),
            (None, None) => "latest",
        }
    }

    /// The name as people write it: without `docker.io/library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full
            .strip_prefix("docker.io/library/")
            .or_else(|| full.strip_prefix("docker.io/"));
        short.unwrap_or(&full).to_owned()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason: String| ReferenceError {
            text: text.chars().take(200).collect(),
            reason,
        };
        if text.is_empty() {
            return Err(fail("it is empty".into()));
        }
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(fail(format!(
                "it is longer than {REFERENCE_BYTES_MAX} bytes"
            )));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(fail(format!(
                "leave out `{scheme}://`; plain http is a setting of the registry"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse::<Digest>()
                        .map_err(|error| fail(error.to_string()))?,
                ),
            ),
            None => (text, None),
        };
        // A colon belongs to a tag only behind the last slash; before it, it is a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let tag = tag
            .map(|tag| tag.parse::<Tag>().map_err(|error| fail(error.reason)))
            .transpose()?;
        let repository = parse_repository(name).map_err(fail)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(Tag("latest".into())),
            (tag, _) => tag,
        };
        Ok(Self {
            repository,
            tag,
            digest,
        })
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse_repository(text).map_err(|reason| ReferenceError {
            text: text.chars().take(200).collect(),
            reason,
        })
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason: &str| {
            Err(ReferenceError {
                text: text.chars().take(200).collect(),
                reason: reason.to_owned(),
            })
        };
        if text.is_empty() || text.len() > TAG_BYTES_MAX {
            return fail("a tag has 1 to 128 characters");
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !word(text.as_bytes()[0]) || !text.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
            return fail(
                "a tag consists of letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`",
            );
        }
        Ok(Self(text.into()))
    }
}

fn parse_repository(name: &str) -> Result<Repository, String> {
    let (registry, path) = match name.split_once('/') {
        // The first component is a host if it looks like one, as docker decides it.
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') =>
        {
            (first, rest.to_owned())
        }
        Some(_) => ("docker.io", name.to_owned()),
        None if name.contains(':') => {
            return Err(format!("`{name}` has no repository behind the registry"));
        }
        None => ("docker.io", name.to_owned()),
    };
    let registry = if registry == "index.docker.io" {
        "docker.io"
    } else {
        registry
    };
    check_registry(registry)?;
    let path = if registry == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path
    };
    check_path(&path)?;
    Ok(Repository {
        registry: registry.into(),
        path: path.into(),
    })
}

fn check_registry(registry: &str) -> Result<(), String> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    if let Some(port) = port
        && !port
            .parse::<u16>()
            .is_ok_and(|number| number > 0 && !port.starts_with('+'))
    {
        return Err(format!("`{port}` is not a port: expected 1 to 65535"));
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok());
        return address
            .map(|_| ())
            .ok_or(format!("`{host}` is not an IPv6 address in brackets"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(label) {
        Ok(())
    } else {
        Err(format!("`{host}` is not a host name"))
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the repository is missing behind the registry".into());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!(
            "the repository is longer than {PATH_BYTES_MAX} characters"
        ));
    }
    for component in path.split('/') {
        if component.is_empty() {
            return Err("a slash at an end or two in a row leave an empty component".into());
        }
        if component.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!(
                "`{component}` must be in lower case: `{}`",
                component.to_ascii_lowercase()
            ));
        }
        if !is_path_component(component) {
            return Err(format!(
                "`{component}` must consist of lower-case letters and digits, joined by `.`, `_`, `__` or dashes"
            ));
        }
    }
    Ok(())
}

/// Distribution's grammar: `alphanumeric [separator alphanumeric]*` with the
/// separators `.`, `_`, `__` and `-`+.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separator = String::new();
    let mut started = false;
    for c in component.chars() {
        if alphanumeric(c) {
            let joined = match separator.as_str() {
                "" => true,
                "." | "_" | "__" => started,
                other => started && other.bytes().all(|b| b == b'-'),
            };
            if !joined {
                return false;
            }
            separator.clear();
            started = true;
        } else {
            separator.push(c);
        }
    }
    started && separator.is_empty()
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let parsed = text.parse::<Reference>();
        match expected.strip_prefix("error: ") {
            Some(part) => {
                let error = parsed.expect_err(text).to_string();
                assert!(error.contains(part), "{text}: {error}");
            }
            None => assert_eq!(parsed.expect(text).to_string(), expected, "{text}"),
        }
    }

    /// Rows: F1
    #[test]
    fn names_get_their_defaults() {
        check("alpine", "docker.io/library/alpine:latest");
        check("alpine:3.20", "docker.io/library/alpine:3.20");
        check("moby/buildkit", "docker.io/moby/buildkit:latest");
        check("index.docker.io/library/a", "docker.io/library/a:latest");
        check("localhost/x", "localhost/x:latest");
        check("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check("ghcr.io/o/a__b.c-d:T_1", "ghcr.io/o/a__b.c-d:T_1");
        let digest = Digest::of(b"");
        check(
            &format!("a@{digest}"),
            &format!("docker.io/library/a@{digest}"),
        );
        check(
            &format!("a:1@{digest}"),
            &format!("docker.io/library/a:1@{digest}"),
        );
        let both: Reference = format!("a:1@{digest}").parse().unwrap();
        assert_eq!(both.manifest_selector(), digest.as_str());
    }

    #[test]
    fn mistakes_are_named() {
        check("", "error: it is empty");
        check("http://a/b", "error: leave out `http://`");
        check("Alpine", "error: lower case: `alpine`");
        check("a/b/", "error: empty component");
        check("a:b:c", "error: has no repository");
        check("r.io:0/a", "error: not a port");
        check("r.io:99999/a", "error: not a port");
        check("a@sha256:abc", "error: 64 lower-case hex digits");
        check("a:-x", "error: does not start with");
        check(&format!("a:{}", "x".repeat(129)), "error: 1 to 128");
        check("a..b", "error: joined by");
        check("a b", "error: joined by");
        check("[::1:5000/a", "error: IPv6");
    }
}
