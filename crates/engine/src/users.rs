//! Names of users and groups, looked up in an image's own `/etc/passwd` and
//! `/etc/group`. The machine's are never asked.

use std::str;

use dockerfile::chown::{self, Owner};
use dockerfile::suggest;
use store::layer::{EntryKind, Follow, SMALL_FILE_BYTES_MAX, Tree};

/// The bytes of an image's user database. A missing file is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserDatabase<'a> {
    /// `/etc/passwd`
    pub passwd: &'a [u8],
    /// `/etc/group`
    pub group: &'a [u8],
    /// Why there is nothing in `passwd` though there is such a file (spec row C3).
    pub passwd_unusable: Option<&'static str>,
    /// The same of `group`.
    pub group_unusable: Option<&'static str>,
}

/// The identity that a process runs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, without the primary one.
    pub groups: Vec<u32>,
    /// The home directory of a known user.
    pub home: Option<String>,
}

impl Identity {
    /// All groups of the process, the primary one first. It is among the supplementary ones too:
    /// else a program could give up its primary group, and with it what the group is denied
    /// (CVE-2023-25173).
    pub(crate) fn all_groups(&self) -> Vec<u32> {
        let mut all = vec![self.gid];
        all.extend(&self.groups);
        all
    }
}

/// Why a user or group cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    /// A name that `/etc/passwd` does not have.
    #[error("user `{name}` is not in the image's /etc/passwd")]
    UnknownUser {
        /// The name.
        name: String,
        /// One that the image has, and that is much like it.
        near: Option<String>,
    },
    /// A name that `/etc/group` does not have.
    #[error("group `{name}` is not in the image's /etc/group")]
    UnknownGroup {
        /// The name.
        name: String,
        /// One that the image has, and that is much like it.
        near: Option<String>,
    },
    /// A name, and a file that cannot say what it means (spec row C3).
    #[error("`{name}` cannot be looked up: the image's {file} {why}")]
    Unusable {
        /// The name.
        name: String,
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A number that no user can have (CVE-2024-40635: such numbers wrapped to
    /// root elsewhere).
    #[error("`{0}` is not a user or group number: they end at {ID_MAX}")]
    TooLarge(String),
}

impl UserError {
    /// The name that was probably meant.
    pub(crate) fn near(&self) -> Option<&str> {
        match self {
            Self::UnknownUser { near, .. } | Self::UnknownGroup { near, .. } => near.as_deref(),
            Self::Unusable { .. } | Self::TooLarge(_) => None,
        }
    }
}

fn near<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    suggest::nearest(name, known).map(str::to_owned)
}

/// The largest id of a user or group; 2³²−1 means "unchanged" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> UserDatabase<'a> {
    /// Of a file system.
    pub(crate) fn of(tree: &'a Tree) -> Self {
        Self {
            passwd: tree.small_file(b"etc/passwd").unwrap_or_default(),
            group: tree.small_file(b"etc/group").unwrap_or_default(),
            passwd_unusable: unusable(tree, b"etc/passwd"),
            group_unusable: unusable(tree, b"etc/group"),
        }
    }

    /// Whom `USER text` makes a process run as. An empty text is root.
    ///
    /// A number that the database knows has that user's groups; a number that
    /// it does not know has group 0 (spec rows R1, R2).
    ///
    /// # Errors
    ///
    /// An unknown name, or a number out of range.
    pub(crate) fn identity(&self, text: &str) -> Result<Identity, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let known = match id(user)? {
            Some(uid) => self.users().find(|known| known.uid == uid),
            None => {
                let found = self.users().find(|known| known.name == user);
                Some(found.ok_or_else(|| self.unknown_user(user))?)
            }
        };
        let uid = match (&known, id(user)?) {
            (Some(known), _) => known.uid,
            (None, Some(uid)) => uid,
            (None, None) => 0,
        };
        let home = known.as_ref().map(|known| known.home.to_owned());
        if let Some(group) = group {
            return Ok(Identity {
                uid,
                gid: self.gid(group)?,
                groups: Vec::new(),
                home,
            });
        }
        let Some(known) = known else {
            return Ok(Identity {
                uid,
                gid: 0,
                groups: Vec::new(),
                home,
            });
        };
        let mut groups: Vec<u32> = self
            .groups()
            .filter(|(_, gid, members)| {
                *gid != known.gid && members.split(',').any(|m| m == known.name)
            })
            .map(|(_, gid, _)| gid)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(Identity {
            uid,
            gid: known.gid,
            groups,
            home,
        })
    }

    /// Who owns the directories that WORKDIR makes under `USER text`: whom it makes a process run
    /// as, but a number alone is also the group, as in `--chown` (spec rows R3, C2).
    ///
    /// # Errors
    ///
    /// As for [`Self::identity`].
    pub(crate) fn maker(&self, text: &str) -> Result<(u32, u32), UserError> {
        match id(text)? {
            Some(uid) => Ok((uid, uid)),
            None => {
                let Identity { uid, gid, .. } = self.identity(text)?;
                Ok((uid, gid))
            }
        }
    }

    /// What `--chown` makes the owner and group of files. A number alone is also
    /// the group; a name alone brings its primary group (spec row C2).
    ///
    /// # Errors
    ///
    /// An unknown name.
    pub(crate) fn owner(&self, owner: &Owner) -> Result<(u32, u32), UserError> {
        let (uid, own_gid) = match &owner.user {
            chown::Identity::Id(uid) => (*uid, *uid),
            chown::Identity::Name(name) => {
                let known = self.users().find(|known| known.name == name);
                let known = known.ok_or_else(|| self.unknown_user(name))?;
                (known.uid, known.gid)
            }
        };
        let gid = match &owner.group {
            None => own_gid,
            Some(chown::Identity::Id(gid)) => *gid,
            Some(chown::Identity::Name(name)) => self.gid_of(name)?,
        };
        Ok((uid, gid))
    }

    fn gid(&self, text: &str) -> Result<u32, UserError> {
        match id(text)? {
            Some(gid) => Ok(gid),
            None => self.gid_of(text),
        }
    }

    fn gid_of(&self, name: &str) -> Result<u32, UserError> {
        let found = self.groups().find(|(known, _, _)| *known == name);
        found
            .map(|(_, gid, _)| gid)
            .ok_or_else(|| match self.group_unusable {
                Some(why) => UserError::Unusable {
                    name: name.to_owned(),
                    file: "/etc/group",
                    why,
                },
                None => UserError::UnknownGroup {
                    name: name.to_owned(),
                    near: near(name, self.groups().map(|(known, _, _)| known)),
                },
            })
    }

    fn unknown_user(&self, name: &str) -> UserError {
        match self.passwd_unusable {
            Some(why) => UserError::Unusable {
                name: name.to_owned(),
                file: "/etc/passwd",
                why,
            },
            None => UserError::UnknownUser {
                name: name.to_owned(),
                near: near(name, self.users().map(|user| user.name)),
            },
        }
    }

    fn users(&self) -> impl Iterator<Item = User<'a>> {
        lines(self.passwd).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1).unwrap_or("");
            Some(User {
                name,
                uid,
                gid,
                home,
            })
        })
    }

    fn groups(&self) -> impl Iterator<Item = (&'a str, u32, &'a str)> {
        lines(self.group).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or("")))
        })
    }
}

/// Why a file of the database that exists has no content for us: it is only ever asked of the
/// index of a layer, which keeps small regular files.
fn unusable(tree: &Tree, path: &[u8]) -> Option<&'static str> {
    if tree.small_file(path).is_some() {
        return None;
    }
    let node = tree.resolve(path, Follow::All).ok()?.found()?;
    match tree.node(node).content()?.kind() {
        EntryKind::File { size, .. } if *size > SMALL_FILE_BYTES_MAX => {
            Some("is larger than 64 KiB")
        }
        EntryKind::File { .. } => Some("is a link to a file of another name"),
        EntryKind::Directory
        | EntryKind::HardLink { .. }
        | EntryKind::Symlink { .. }
        | EntryKind::CharacterDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo
        | EntryKind::Whiteout
        | EntryKind::Opaque => Some("is not a regular file"),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| str::from_utf8(line).ok())
        .map(str::trim_end)
}

/// The number that a text is; `None` when it is a name.
fn id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::TooLarge(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: UserDatabase<'static> = UserDatabase {
        passwd:
            b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\nbroken\n",
        group: b"root:x:0:\nwheel:x:10:root,alice\nalice:x:1001:\nstaff:x:50:bob,alice",
        passwd_unusable: None,
        group_unusable: None,
    };

    fn check_identity(text: &str, expected: &str) {
        let shown = match DATABASE.identity(text) {
            Ok(identity) => format!("{}:{} {:?}", identity.uid, identity.gid, identity.groups),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "USER {text}");
    }

    #[test]
    fn whom_user_means() {
        check_identity("", "0:0 [10]");
        check_identity("root", "0:0 [10]");
        check_identity("alice", "1000:1001 [10, 50]");
        check_identity("1000", "1000:1001 [10, 50]");
        check_identity("1234", "1234:0 []");
        check_identity("1234:1234", "1234:1234 []");
        check_identity("alice:staff", "1000:50 []");
        check_identity(
            "mallory",
            "user `mallory` is not in the image's /etc/passwd",
        );
        check_identity(
            "alice:nobody",
            "group `nobody` is not in the image's /etc/group",
        );
        check_identity(
            "4294967296",
            "`4294967296` is not a user or group number: they end at 4294967294",
        );
        check_identity(
            "4294967295",
            "`4294967295` is not a user or group number: they end at 4294967294",
        );
    }

    #[test]
    fn whom_chown_means() {
        let check = |text: &str, expected: Option<(u32, u32)>| {
            let owner = Owner::parse(text).unwrap();
            assert_eq!(DATABASE.owner(&owner).ok(), expected, "--chown={text}");
        };
        check("55", Some((55, 55)));
        check("55:66", Some((55, 66)));
        check("alice", Some((1000, 1001)));
        check("alice:wheel", Some((1000, 10)));
        check("0:staff", Some((0, 50)));
        check("bob", None);
        check("alice:bob", None);
    }
}
