//! Why a request to a registry did not do what it was asked for.

use std::fmt;
use std::time::Duration;

use oci::Digest;

/// A failed operation: what was being done, where, what came back, and what to
/// do about it. Holds no secret: queries of URLs are cut off, and of an account
/// only its name and where it was found are kept.
#[derive(Debug)]
pub struct Error(Box<Detail>);

#[derive(Debug)]
struct Detail {
    kind: ErrorKind,
    operation: Operation,
    subject: String,
    what: Option<String>,
    url: Option<String>,
    status: Option<u16>,
    messages: Vec<RegistryMessage>,
    account: Option<String>,
    attempts: u32,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure that a caller may want to tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The registry knows no such manifest, repository or blob.
    NotFound,
    /// The registry does not accept the account that was used, or wants one.
    Unauthorized,
    /// The account is known and may not do this.
    Denied,
    /// The registry asks for a longer pause than kiln is willing to make, or
    /// kept asking.
    RateLimited {
        /// The pause that was asked for, where it was said.
        retry_after: Option<Duration>,
    },
    /// No connection: name not found, refused, reset.
    Unreachable,
    /// The connection is not to be trusted.
    Tls,
    /// The peer fell silent, or trickled.
    Stalled,
    /// Bytes that are not what their digest or size says.
    Corrupted,
    /// The peer broke the distribution specification.
    Protocol,
    /// Something that kiln does not do.
    Unsupported,
    /// Blobs come as a whole only: a wish for a part was ignored or misunderstood.
    Ranges,
    /// A pushed manifest names a blob that the registry does not have.
    BlobUnknown {
        /// The blob, where the registry named it.
        digest: Option<Digest>,
    },
    /// The registry said that it stored something and does not have it.
    NotStored,
    /// The repository does not let this tag be moved, and it points at something else.
    TagImmutable,
    /// A document or a list is larger than its bound.
    TooLarge,
    /// The settings forbid this registry.
    Blocked,
    /// Credentials could not be read or a helper failed.
    Credentials,
    /// The registry failed (5xx) more often than it was worth trying.
    Server,
    /// The registry refused the request for another reason (4xx).
    Refused,
    /// What was to be sent could not be read.
    Source,
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Preparing a client.
    Configure,
    /// Asking what a reference points at.
    Resolve,
    /// Fetching a manifest.
    PullManifest,
    /// Fetching a blob.
    PullBlob,
    /// Asking whether a blob is there.
    CheckBlob,
    /// Mounting a blob from another repository.
    MountBlob,
    /// Sending a blob.
    PushBlob,
    /// Sending a manifest.
    PushManifest,
    /// Asking for the repositories of a registry.
    ListRepositories,
    /// Asking for the tags of a repository.
    ListTags,
    /// Asking what refers to a manifest.
    ListReferrers,
    /// Adding to the list of what refers to a manifest.
    AddReferrer,
    /// Deleting a manifest or a tag.
    Delete,
    /// Asking for a token.
    Authenticate,
    /// Asking whether an account is accepted, and for what.
    CheckAccess,
}

/// One entry of a registry's error document (distribution specification,
/// "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryMessage {
    /// For instance `MANIFEST_UNKNOWN`; empty where the answer had no code.
    pub code: String,
    /// For people; control characters removed, cut to 300 characters.
    pub message: String,
    /// The digest in the entry's detail, where there is one.
    pub digest: Option<Digest>,
}

impl RegistryMessage {
    /// Whether this is how a registry says that a tag may not be moved. No status and no code is
    /// common to all of them, so the words decide (R18): Artifact Registry has "enabled tag
    /// immutability", ECR's tag "cannot be overwritten because the repository is immutable",
    /// Harbor's is "configured as immutable", others' code is `TAG_IMMUTABLE`.
    pub(crate) fn is_about_immutability(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        message.contains("immutab")
            || message.contains("cannot be overwritten")
            || self.code.to_ascii_lowercase().contains("immutab")
    }
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Configure => "set up the client for",
            Self::Resolve => "resolve",
            Self::PullManifest => "pull the manifest of",
            Self::PullBlob => "pull blob",
            Self::CheckBlob => "look for blob",
            Self::MountBlob => "mount blob",
            Self::PushBlob => "push blob",
            Self::PushManifest => "push the manifest of",
            Self::ListRepositories => "list the repositories of",
            Self::ListTags => "list the tags of",
            Self::ListReferrers => "list what refers to",
            Self::AddReferrer => "attach to",
            Self::Delete => "delete",
            Self::Authenticate => "get a token for",
            Self::CheckAccess => "check the access to",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: Operation, subject: impl fmt::Display) -> Self {
        Self(Box::new(Detail {
            kind,
            operation,
            subject: subject.to_string(),
            what: None,
            url: None,
            status: None,
            messages: Vec::new(),
            account: None,
            attempts: 1,
            hint: None,
            source: None,
        }))
    }

    pub(crate) fn what(mut self, what: impl Into<String>) -> Self {
        self.0.what = Some(what.into());
        self
    }

    pub(crate) fn url(mut self, url: &reqwest::Url) -> Self {
        self.0.url = Some(shown(url));
        self
    }

    pub(crate) fn status(mut self, status: http::StatusCode) -> Self {
        self.0.status = Some(status.as_u16());
        self
    }

    pub(crate) fn messages(mut self, messages: Vec<RegistryMessage>) -> Self {
        self.0.messages = messages;
        self
    }

    pub(crate) fn account(mut self, account: impl fmt::Display) -> Self {
        self.0.account = Some(account.to_string());
        self
    }

    pub(crate) fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// A hint where there is none yet.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    pub(crate) fn during(mut self, operation: Operation) -> Self {
        self.0.operation = operation;
        self
    }

    pub(crate) fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The HTTP status of the last answer.
    pub fn http_status(&self) -> Option<u16> {
        self.0.status
    }

    /// The URL that was asked, without its query, user and password.
    pub fn asked_url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// Whether another attempt at something larger may go better.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unreachable
                | ErrorKind::Stalled
                | ErrorKind::Server
                | ErrorKind::RateLimited { .. }
        )
    }

    /// What the registry said.
    pub fn registry_messages(&self) -> &[RegistryMessage] {
        &self.0.messages
    }

    /// The account that was used and where it was found; never its secret.
    pub fn account_used(&self) -> Option<&str> {
        self.0.account.as_deref()
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        if let Some(hint) = &self.0.hint {
            return Some(hint.clone());
        }
        let advice = match &self.0.kind {
            ErrorKind::NotFound if self.0.operation == Operation::PullBlob => {
                "the registry has lost a part of this image: push the image again, or use another"
            }
            ErrorKind::NotFound => {
                "check the spelling of the repository and the tag; private repositories of an unknown account look like missing ones"
            }
            ErrorKind::Unauthorized => {
                "log in to the registry, or check which account its entry in config.json names"
            }
            ErrorKind::Denied if self.account_used().is_none() => {
                "log in to the registry: `kiln login HOST`"
            }
            ErrorKind::Denied => "ask for the permission, or use another account",
            ErrorKind::RateLimited { .. } => {
                "wait, log in for a higher limit, or configure a mirror"
            }
            ErrorKind::Unreachable => {
                "check the name and port of the registry, the network and the proxy settings"
            }
            ErrorKind::Tls => {
                "put the CA of the registry into certs.d/HOST/ca.crt, or correct its certificate"
            }
            ErrorKind::Stalled => {
                "try again; if it stays, look at the registry, or at a proxy in between"
            }
            ErrorKind::Corrupted => {
                "try again; if it stays, the registry or a mirror holds damaged content"
            }
            ErrorKind::BlobUnknown { .. } | ErrorKind::NotStored => {
                "push again; if it stays, the storage of the registry loses content"
            }
            ErrorKind::TagImmutable => {
                "use another tag: whoever pulls this one relies on what it is"
            }
            ErrorKind::Server => "look at the logs of the registry",
            ErrorKind::Credentials => {
                "install the helper or repair the entry that is named, or log in again"
            }
            ErrorKind::Protocol
            | ErrorKind::Unsupported
            | ErrorKind::TooLarge
            | ErrorKind::Ranges
            | ErrorKind::Blocked
            | ErrorKind::Refused
            | ErrorKind::Source => return None,
        };
        Some(advice.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &*self.0;
        write!(
            f,
            "could not {} {}: ",
            detail.operation.verb(),
            detail.subject
        )?;
        match (&detail.what, &detail.kind) {
            (Some(what), _) => f.write_str(what)?,
            (None, kind) => write!(f, "{kind}")?,
        }
        if let Some(status) = detail.status {
            write!(f, " (HTTP {status})")?;
        }
        for message in &detail.messages {
            match (message.code.as_str(), message.message.as_str()) {
                ("", text) => write!(f, "; the registry says: {text}")?,
                (code, "") => write!(f, "; the registry says {code}")?,
                (code, text) => write!(f, "; the registry says {code}: {text}")?,
            }
        }
        if let Some(account) = &detail.account {
            write!(f, "; used {account}")?;
        }
        if detail.attempts > 1 {
            write!(f, "; tried {} times", detail.attempts)?;
        }
        if let Some(url) = &detail.url {
            write!(f, " [{url}]")?;
        }
        Ok(())
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotFound => "it does not exist",
            Self::Ranges => "blobs can only be had as a whole",
            Self::Unauthorized => "the registry does not accept the credentials",
            Self::Denied => "access is denied",
            Self::RateLimited {
                retry_after: Some(pause),
            } => {
                return write!(
                    f,
                    "too many requests; the registry asks to wait {} s",
                    pause.as_secs()
                );
            }
            Self::RateLimited { retry_after: None } => "too many requests",
            Self::Unreachable => "the registry cannot be reached",
            Self::Tls => "the connection cannot be trusted",
            Self::Stalled => "the registry stopped answering",
            Self::Corrupted => "the content is not what its digest says",
            Self::Protocol => "the registry breaks the protocol",
            Self::Unsupported => "not supported",
            Self::BlobUnknown {
                digest: Some(digest),
            } => return write!(f, "the registry does not have blob {digest}"),
            Self::BlobUnknown { digest: None } => "the registry does not have one of the blobs",
            Self::NotStored => "the registry accepted it and does not have it",
            Self::TooLarge => "it is too large",
            Self::Blocked => "the registry is blocked by the settings",
            Self::Credentials => "the credentials cannot be read",
            Self::TagImmutable => "the tag may not be moved, and points at something else",
            Self::Server => "the registry failed",
            Self::Refused => "the registry refused",
            Self::Source => "what was to be sent could not be read",
        };
        f.write_str(text)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// The settings say that nothing may go there.
pub(crate) fn blocked(
    blocked: &crate::endpoint::Blocked,
    operation: Operation,
    subject: impl fmt::Display,
) -> Error {
    Error::new(ErrorKind::Blocked, operation, subject)
        .what(format!("registries.conf blocks `{}`", blocked.prefix))
}

/// A URL as people may see it: queries can hold signatures, and a user part a
/// password.
pub(crate) fn shown(url: &reqwest::Url) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or(""));
    if let Some(port) = url.port() {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(url.path());
    if text.chars().count() > SHOWN_CHARS_MAX {
        text = text.chars().take(SHOWN_CHARS_MAX).collect();
        text.push('…');
    }
    text
}
