//! The fields of `RUN --mount`: their names, and which type has which.

/// A field that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Env,
    From,
    Gid,
    Id,
    Mode,
    ReadOnly,
    ReadWrite,
    Required,
    Sharing,
    Size,
    Source,
    Target,
    Type,
    Uid,
}

/// Every name of every field.
pub(super) const KEYS: [(&str, Key); 19] = [
    ("type", Key::Type),
    ("target", Key::Target),
    ("dst", Key::Target),
    ("destination", Key::Target),
    ("source", Key::Source),
    ("src", Key::Source),
    ("from", Key::From),
    ("ro", Key::ReadOnly),
    ("readonly", Key::ReadOnly),
    ("rw", Key::ReadWrite),
    ("readwrite", Key::ReadWrite),
    ("id", Key::Id),
    ("sharing", Key::Sharing),
    ("mode", Key::Mode),
    ("uid", Key::Uid),
    ("gid", Key::Gid),
    ("size", Key::Size),
    ("required", Key::Required),
    ("env", Key::Env),
];

/// The types, and the fields that each has beside its type. Whether something can be written is
/// not the Dockerfile's choice for secrets, sockets and memory, but saying what is so is no
/// mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Bind,
    Kind::Cache,
    Kind::Tmpfs,
    Kind::Secret,
    Kind::Ssh,
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    /// The fields, under their usual names.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["target", "source", "from", "ro", "rw"],
            Self::Cache => &[
                "target", "id", "sharing", "source", "from", "mode", "uid", "gid", "ro", "rw",
            ],
            Self::Tmpfs => &["target", "size", "rw"],
            Self::Secret => &[
                "id", "source", "target", "env", "required", "mode", "uid", "gid", "ro",
            ],
            Self::Ssh => &["id", "target", "required", "mode", "uid", "gid", "ro", "rw"],
        }
    }

    pub(super) fn has(self, key: Key) -> bool {
        let mut keys = self.keys().iter();
        key == Key::Type || keys.any(|name| key_of(name) == Some(key))
    }

    /// The name of a cache is often given to what stands beside it. It changes nothing there, so
    /// it is no reason not to build.
    pub(super) fn may_have(self, key: Key) -> bool {
        match self {
            Self::Bind | Self::Tmpfs => key == Key::Id,
            Self::Cache | Self::Secret | Self::Ssh => false,
        }
    }
}

pub(super) fn key_of(name: &str) -> Option<Key> {
    let known = KEYS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, key)| *key)
}
