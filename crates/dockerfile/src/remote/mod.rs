//! What a word names that may come from elsewhere: a path, a file behind an http address, or a
//! commit of a git repository, told apart and taken to pieces as BuildKit does it. Text only:
//! nobody is asked whether anything is there.
//!
//! ```text
//! https://example.org/a.tar.gz            a file
//! https://example.org/a.git#v1:sub        a directory of a commit
//! git@example.org:a.git?branch=b          the same, with the words spelled out
//! ssh://… git://…                         always git
//! ```
//!
//! Whatever could be taken for an option by a program that gets a part of the word is refused here
//! (CVE-2018-17456, CVE-2019-13139, CVE-2025-21613), and so are transports that run programs.

mod git;
mod query;

pub use git::{GitAddress, GitTransport};

/// The longest address that is taken, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 8 * 1024;

/// The name of a file whose address has none (C24).
pub const UNNAMED: &str = "__unnamed__";

/// Something that is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file.
    Http(HttpAddress),
    /// A commit, or a directory of one.
    Git(GitAddress),
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// With `http` or `https`, without a fragment; may hold a name and a password.
    pub url: String,
    /// The last component of its path, percent signs replaced, or [`UNNAMED`]: one component of a
    /// path, never `.` or `..`.
    pub file_name: String,
}

/// Who wrote the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The Dockerfile, as a source of ADD. A repository of this machine is not reached from there,
    /// and `github.com/…` is a path, as in BuildKit.
    InDockerfile,
    /// The user, as a context on the command line.
    ByUser,
}

/// Why a word that is an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// More than [`ADDRESS_BYTES_MAX`] bytes.
    #[error("the address is longer than {ADDRESS_BYTES_MAX} bytes")]
    Long,
    /// A blank or a control character.
    #[error("the address has a blank or a control character in it")]
    Character,
    /// A backslash before the path: to some who read addresses the host ends there, to others it
    /// is part of a name or a password (CVE-2021-27515 is of that kind).
    #[error("the address has a backslash before its path, where nobody agrees on what it means")]
    Backslash,
    /// A scheme that nobody here speaks.
    #[error("`{0}` is not a scheme that files can be fetched with: http, https, git and ssh are")]
    Scheme(String),
    /// `ext::…`: git would run a program.
    #[error("git's transport `{0}::` runs programs or reads what it likes, and is never used")]
    Transport(String),
    /// `file://` in a Dockerfile.
    #[error("a Dockerfile cannot name files of this machine with `file://`")]
    File,
    /// Nothing between the scheme and the path.
    #[error("the address names no host")]
    Host,
    /// A part that a program would take for an option.
    #[error("the {part} `{text}` begins with `-`, as options do")]
    Option {
        /// Such as `host`.
        part: &'static str,
        /// What is there.
        text: String,
    },
    /// A host with impossible characters, or a port that is no number.
    #[error("`{0}` is not the name of a host")]
    HostName(String),
    /// No path to a repository.
    #[error("the address names no repository")]
    Repository,
    /// A `%` that is not followed by two digits, or by digits of no text.
    #[error("`{0}` has a `%` that stands for nothing")]
    Percent(String),
    /// Not what git takes for the name of a branch, tag or commit (git-check-ref-format(1)).
    #[error("`{0}` cannot be the name of a branch, a tag or a commit")]
    Reference(String),
    /// A directory that leads elsewhere.
    #[error("the directory `{0}` leads out of the repository")]
    Subdirectory(String),
    /// Not a commit, nor the beginning of one.
    #[error("`{0}` is not a commit, nor the beginning of one: it must be of hexadecimal digits")]
    Checksum(String),
    /// A word of the query that means nothing.
    #[error("`{key}` is not known in the address of a repository")]
    Key {
        /// As written.
        key: String,
        /// The known one that is nearest, if one is near.
        near: Option<&'static str>,
    },
    /// A word of the query twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A word of the query without a value.
    #[error("`{0}` has no value")]
    Valueless(String),
    /// A value that its word does not take.
    #[error("`{key}={value}`: expected {expected}")]
    Value {
        /// The word.
        key: String,
        /// As written.
        value: String,
        /// What can stand there.
        expected: &'static str,
    },
    /// Two parts that say different things.
    #[error("the address says both {0} `{1}` and `{2}`")]
    Conflict(&'static str, String, String),
}

impl Remote {
    /// Tells what a word is; `None` is a path.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] for a word that is an address and cannot be used.
    pub fn parse(word: &str, written: Written) -> Result<Option<Self>, RemoteError> {
        if let Some(helper) = transport_helper(word) {
            return Err(RemoteError::Transport(helper.to_owned()));
        }
        let by_user = written == Written::ByUser;
        if by_user && word.starts_with("github.com/") {
            let url = format!("https://{word}");
            return url_parts(&url).and_then(|parts| GitAddress::read(&parts).map(git));
        }
        let Some((scheme, _)) = split_scheme(word) else {
            return match git::scp(word)? {
                Some(address) => Ok(git(address)),
                None => Ok(None),
            };
        };
        match scheme.as_str() {
            "http" | "https" => {
                let parts = url_parts(word)?;
                if parts.path.ends_with(".git") {
                    return GitAddress::read(&parts).map(git);
                }
                HttpAddress::read(&parts).map(|address| Some(Self::Http(address)))
            }
            "git" | "ssh" => GitAddress::read(&url_parts(word)?).map(git),
            "file" if by_user => GitAddress::read(&url_parts(word)?).map(git),
            "file" => Err(RemoteError::File),
            _ => Err(RemoteError::Scheme(scheme)),
        }
    }
}

fn git(address: GitAddress) -> Option<Remote> {
    Some(Remote::Git(address))
}

impl HttpAddress {
    fn read(parts: &UrlParts<'_>) -> Result<Self, RemoteError> {
        let path = parts.path.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or("");
        let name = percent_decoded(last)?;
        // A slash that was hidden behind a percent sign is still one (F05).
        let safe = !matches!(name.as_str(), "" | "." | "..")
            && !name.contains('/')
            && !name.chars().any(char::is_control);
        Ok(Self {
            url: parts.without_fragment.to_owned(),
            file_name: if safe { name } else { UNNAMED.to_owned() },
        })
    }

    /// The address for messages: without credentials.
    pub fn shown(&self) -> String {
        without_credentials(&self.url)
    }
}

/// An address without what is secret in it: its password, and over http the user as well, whose
/// name may be a token.
pub fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else {
        return address.to_owned();
    };
    let is_http = ["http", "https"]
        .iter()
        .any(|http| scheme.eq_ignore_ascii_case(http));
    match user.split_once(':') {
        _ if is_http => format!("{scheme}://xxxxx@{host}{path}"),
        Some((user, _)) => format!("{scheme}://{user}:xxxxx@{host}{path}"),
        None => address.to_owned(),
    }
}

/// A URL in its parts, none of them decoded.
#[derive(Debug, Clone, Copy)]
struct UrlParts<'w> {
    scheme: &'w str,
    user: Option<&'w str>,
    /// With the port.
    host: &'w str,
    /// From its first slash on; empty where there is none.
    path: &'w str,
    query: Option<&'w str>,
    fragment: Option<&'w str>,
    without_fragment: &'w str,
}

fn url_parts(word: &str) -> Result<UrlParts<'_>, RemoteError> {
    check_characters(word)?;
    let (without_fragment, fragment) = match word.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (word, None),
    };
    let (scheme, rest) = without_fragment
        .split_once("://")
        .unwrap_or(("", without_fragment));
    let (rest, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('\\') {
        return Err(RemoteError::Backslash);
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme.eq_ignore_ascii_case("file") {
        if !authority.is_empty() {
            return Err(RemoteError::HostName(authority.to_owned()));
        }
    } else {
        check_host(host)?;
    }
    if let Some(user) = user {
        refuse_option("user", user)?;
    }
    Ok(UrlParts {
        scheme,
        user,
        host,
        path,
        query,
        fragment,
        without_fragment,
    })
}

fn check_characters(word: &str) -> Result<(), RemoteError> {
    if word.len() > ADDRESS_BYTES_MAX {
        return Err(RemoteError::Long);
    }
    if word
        .chars()
        .any(|character| character.is_whitespace() || character.is_control())
    {
        return Err(RemoteError::Character);
    }
    Ok(())
}

/// Names, IPv4 and `[IPv6]`, with or without a port.
fn check_host(host: &str) -> Result<(), RemoteError> {
    if host.is_empty() {
        return Err(RemoteError::Host);
    }
    refuse_option("host", host)?;
    let wrong = || RemoteError::HostName(host.to_owned());
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(wrong());
            }
            ("", port)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || byte >= 0x80;
    if !name.bytes().all(is_part) || (name.is_empty() && !host.starts_with('[')) {
        return Err(wrong());
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(number) if !number.is_empty() && number.parse::<u16>().is_ok() => Ok(()),
        Some(_) | None => Err(wrong()),
    }
}

fn refuse_option(part: &'static str, text: &str) -> Result<(), RemoteError> {
    if text.starts_with('-') {
        let text = text.to_owned();
        return Err(RemoteError::Option { part, text });
    }
    Ok(())
}

/// `scheme://rest`, the scheme in lower case.
fn split_scheme(word: &str) -> Option<(String, &str)> {
    let (scheme, rest) = word.split_once("://")?;
    let mut bytes = scheme.bytes();
    let is_scheme = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// The name before `::`, where git would look for a program `git-remote-NAME` (gitremote-helpers(7)).
fn transport_helper(word: &str) -> Option<&str> {
    let (helper, _) = word.split_once("::")?;
    let known = [
        "ext", "fd", "file", "ftp", "ftps", "http", "https", "git", "ssh",
    ];
    known.contains(&helper).then_some(helper)
}

fn percent_decoded(text: &str) -> Result<String, RemoteError> {
    let wrong = || RemoteError::Percent(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
