//! Addresses of git repositories.

use super::query::{Query, parse_query};
use super::{
    RemoteError, UrlParts, check_characters, check_host, percent_decoded, refuse_option,
    without_credentials,
};

/// A commit of a repository, or a directory of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// As git takes it, without query and fragment; may hold a name and a password.
    pub repository: String,
    /// How it is reached.
    pub transport: GitTransport,
    /// A branch, a tag, a commit, or `refs/…`; the default branch when absent.
    pub reference: Option<String>,
    /// The directory that is meant, relative and clean; empty is the whole tree.
    pub subdirectory: String,
    /// What the commit must begin with: lower-case hexadecimal digits.
    pub checksum: Option<String>,
    /// Whether submodules are wanted; `None` leaves it to the usual, which is yes.
    pub submodules: Option<bool>,
    /// Whether `.git` is wanted; `None` leaves it to who asks.
    pub keep_git_dir: Option<bool>,
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GitTransport {
    /// `https://`
    Https,
    /// `http://`
    Http,
    /// `ssh://`, or `user@host:path`
    Ssh,
    /// `git://`
    Git,
    /// `file://`
    File,
}

/// The digits of a SHA-1 and of a SHA-256.
const COMMIT_DIGITS: [usize; 2] = [40, 64];

impl GitAddress {
    /// The address for messages: without credentials, with what it selects.
    pub fn shown(&self) -> String {
        let mut shown = without_credentials(&self.repository);
        if self.reference.is_some() || !self.subdirectory.is_empty() {
            shown.push('#');
            shown.push_str(self.reference.as_deref().unwrap_or(""));
        }
        if !self.subdirectory.is_empty() {
            shown.push(':');
            shown.push_str(&self.subdirectory);
        }
        shown
    }

    /// Whether a text is a whole commit: then nobody has to be asked which one is meant.
    pub fn is_commit(text: &str) -> bool {
        COMMIT_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Checks what a commit must begin with, and makes it lower-case (C25).
    ///
    /// # Errors
    ///
    /// [`RemoteError::Checksum`].
    pub fn checksum(text: &str) -> Result<String, RemoteError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.is_empty() || text.len() > COMMIT_DIGITS[1] || !digits {
            return Err(RemoteError::Checksum(text.to_owned()));
        }
        Ok(text.to_ascii_lowercase())
    }

    pub(super) fn read(parts: &UrlParts<'_>) -> Result<Self, RemoteError> {
        let transport = match parts.scheme.to_ascii_lowercase().as_str() {
            "http" => GitTransport::Http,
            "https" => GitTransport::Https,
            "ssh" => GitTransport::Ssh,
            "git" => GitTransport::Git,
            "file" => GitTransport::File,
            other => return Err(RemoteError::Scheme(other.to_owned())),
        };
        if parts.path.trim_matches('/').is_empty() {
            return Err(RemoteError::Repository);
        }
        // ssh takes its path as words of a command on the other side.
        refuse_option("path", parts.path.trim_start_matches('/'))?;
        let user = parts.user.map_or(String::new(), |user| format!("{user}@"));
        let UrlParts { host, path, .. } = parts;
        let scheme = parts.scheme.to_ascii_lowercase();
        let repository = format!("{scheme}://{user}{host}{path}");
        Self::select(repository, transport, parts.query, parts.fragment)
    }

    /// The parts behind the repository.
    fn select(
        repository: String,
        transport: GitTransport,
        query: Option<&str>,
        fragment: Option<&str>,
    ) -> Result<Self, RemoteError> {
        let query = parse_query(query.unwrap_or(""))?;
        let fragment = percent_decoded(fragment.unwrap_or(""))?;
        check_characters(&fragment)?;
        let (reference, directory) = match fragment.split_once(':') {
            Some((reference, directory)) => (reference, directory),
            None => (fragment.as_str(), ""),
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let reference = same("the ref", some(reference), query.reference())?;
        let directory = same("the directory", some(directory), query.subdirectory.clone())?;
        let Query {
            checksum,
            submodules,
            keep_git_dir,
            fetch_by_commit,
            ..
        } = query;
        let checksum = checksum.map(|text| Self::checksum(&text)).transpose()?;
        if fetch_by_commit && !checksum.as_deref().is_some_and(Self::is_commit) {
            return Err(RemoteError::Value {
                key: "fetch-by-commit".to_owned(),
                value: "true".to_owned(),
                expected: "a whole commit in `checksum` beside it",
            });
        }
        let by_commit = checksum.clone().filter(|_| fetch_by_commit);
        let reference = by_commit.or(reference).or_else(|| checksum.clone());
        if let Some(reference) = &reference {
            check_reference(reference)?;
        }
        Ok(Self {
            repository,
            transport,
            reference,
            subdirectory: clean_directory(&directory.unwrap_or_default())?,
            checksum,
            submodules,
            keep_git_dir,
        })
    }
}

/// `user@host:path`, as ssh and git write it; `None` is a path of this machine.
pub(super) fn scp(word: &str) -> Result<Option<GitAddress>, RemoteError> {
    let is_word = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let Some((user, rest)) = word.split_once('@') else {
        return Ok(None);
    };
    let Some((host, rest)) = rest.split_once(':') else {
        return Ok(None);
    };
    if !is_word(user, b"-_.") || !is_word(host, b"-_.") {
        return Ok(None);
    }
    check_characters(word)?;
    refuse_option("user", user)?;
    check_host(host)?;
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (rest, None),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if path.trim_matches('/').is_empty() {
        return Err(RemoteError::Repository);
    }
    refuse_option("path", path.trim_start_matches('/'))?;
    let repository = format!("{user}@{host}:{path}");
    // To git all before it is a scheme, and this would be no host.
    if let Some((scheme, _)) = repository.split_once("://") {
        return Err(RemoteError::Scheme(scheme.to_owned()));
    }
    GitAddress::select(repository, GitTransport::Ssh, query, fragment).map(Some)
}

/// Two ways to say one thing.
pub(super) fn same(
    what: &'static str,
    one: Option<String>,
    other: Option<String>,
) -> Result<Option<String>, RemoteError> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(RemoteError::Conflict(what, one, other)),
        (one, other) => Ok(one.or(other)),
    }
}

/// The rules of git-check-ref-format(1), for what stands in a list of refs.
fn check_reference(text: &str) -> Result<(), RemoteError> {
    refuse_option("ref", text)?;
    let component =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let fits = text.split('/').all(component)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with('.')
        && text != "@"
        && !text
            .chars()
            .any(|character| character.is_control() || " ~^:?*[\\".contains(character));
    if fits {
        Ok(())
    } else {
        Err(RemoteError::Reference(text.to_owned()))
    }
}

fn clean_directory(text: &str) -> Result<String, RemoteError> {
    let mut components = Vec::new();
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => return Err(RemoteError::Subdirectory(text.to_owned())),
            name => components.push(name),
        }
    }
    if components.first() == Some(&".git") {
        return Err(RemoteError::Subdirectory(text.to_owned()));
    }
    Ok(components.join("/"))
}
