//! The value of `--chown` (C2): who is to own, by name or number. Looking names up is the work of
//! whoever has the root filesystem.

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// By number.
    Id(u32),
    /// By name, to be looked up.
    Name(String),
}

/// A user, and a group where one was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user.
    pub user: Identity,
    /// The group. Absent: for a user's name the user's primary group, for a number the group of
    /// the same number (C2).
    pub group: Option<Identity>,
}

/// Why a value names no owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// Nothing before `:`, or nothing at all.
    #[error("`{value}` names no user: expected user or user:group")]
    NoUser {
        /// The value.
        value: String,
    },
    /// Nothing after `:`.
    #[error("`{value}` names no group after the colon")]
    NoGroup {
        /// The value.
        value: String,
    },
    /// A number that no identity can have.
    #[error("{number} is not a user or group: the highest is 4294967294")]
    Number {
        /// The digits as written.
        number: String,
    },
}

impl Owner {
    /// Reads `user` or `user:group`.
    pub fn parse(value: &str) -> Result<Self, OwnerError> {
        let (user, group) = match value.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (value, None),
        };
        if user.is_empty() {
            return Err(OwnerError::NoUser {
                value: value.to_owned(),
            });
        }
        if group == Some("") {
            return Err(OwnerError::NoGroup {
                value: value.to_owned(),
            });
        }
        Ok(Self {
            user: identity(user)?,
            group: group.map(identity).transpose()?,
        })
    }
}

fn identity(word: &str) -> Result<Identity, OwnerError> {
    // Nobody needs to be asked who that is, not even an image without accounts.
    if word == "root" {
        return Ok(Identity::Id(0));
    }
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Identity::Name(word.to_owned()));
    }
    // The highest number means "leave as it is" to chown(2).
    match word.parse() {
        Ok(u32::MAX) | Err(_) => Err(OwnerError::Number {
            number: word.to_owned(),
        }),
        Ok(id) => Ok(Identity::Id(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn owners() {
        let check = |value: &str, expected: &str| {
            let found = match Owner::parse(value) {
                Ok(owner) => format!("{:?} {:?}", owner.user, owner.group),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{value}");
        };
        check("55", "Id(55) None");
        check("app:staff", "Name(\"app\") Some(Name(\"staff\"))");
        check("root", "Id(0) None");
        check("app:root", "Name(\"app\") Some(Id(0))");
        check("0:app", "Id(0) Some(Name(\"app\"))");
        check("", "`` names no user: expected user or user:group");
        check(":0", "`:0` names no user: expected user or user:group");
        check("app:", "`app:` names no group after the colon");
        check(
            "4294967295",
            "4294967295 is not a user or group: the highest is 4294967294",
        );
    }
}
