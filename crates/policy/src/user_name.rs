//! The name of a user, as a part of repository names.

use std::fmt;

use crate::{CHANNEL_BYTES_MAX, ChannelName};

/// Names that many people share: a channel of one of them would be everybody's.
const SHARED_NAMES: &[&str] = &["root", "runner", "ubuntu", "jenkins", "nobody"];

/// The longest text that a name is made from, in bytes. What is behind is not looked at.
const SOURCE_BYTES_MAX: usize = 1024;

/// Where the name of the user may come from. The first that is there decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNameSources {
    /// `--user`.
    pub flag: Option<String>,
    /// `KILN_USER`.
    pub variable: Option<String>,
    /// `user.email` of git, whole.
    pub email: Option<String>,
    /// The account on this machine.
    pub account: Option<String>,
}

/// The name of a user, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    /// The name.
    pub name: ChannelName,
    /// Where it comes from.
    pub source: UserNameSource,
}

/// Where the name of a user comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNameSource {
    /// `--user`.
    Flag,
    /// `KILN_USER`.
    Variable,
    /// The part of git's `user.email` before the `@`.
    Email,
    /// The account on this machine.
    Account,
}

impl fmt::Display for UserNameSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Flag => "--user",
            Self::Variable => "KILN_USER",
            Self::Email => "git's user.email",
            Self::Account => "the account on this machine",
        })
    }
}

/// Why there is no name of the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// None of the sources is there.
    #[error("nothing says who the user is")]
    Unknown,
    /// Nothing is left of the text.
    #[error("{source_name} is `{text}`, in which there is no letter or digit")]
    Empty {
        /// Where the text comes from.
        source_name: UserNameSource,
        /// The text.
        text: String,
    },
    /// Many people have this name.
    #[error("{source_name} says `{name}`, a name that many users and machines share")]
    Shared {
        /// Where the name comes from.
        source_name: UserNameSource,
        /// The name.
        name: String,
    },
}

/// The name of the user.
///
/// # Errors
///
/// When nothing says it, or what says it says nothing that only one person is called.
pub fn user_name(sources: &UserNameSources) -> Result<UserName, UserNameError> {
    let email = sources.email.as_deref().map(local_part);
    let candidates = [
        (UserNameSource::Flag, sources.flag.as_deref()),
        (UserNameSource::Variable, sources.variable.as_deref()),
        (UserNameSource::Email, email),
        (UserNameSource::Account, sources.account.as_deref()),
    ];
    let present = candidates
        .into_iter()
        .find_map(|(source, text)| Some((source, text?)));
    let Some((source, text)) = present else {
        return Err(UserNameError::Unknown);
    };
    let name = sanitised(text);
    if SHARED_NAMES.contains(&name.as_str()) {
        return Err(UserNameError::Shared {
            source_name: source,
            name,
        });
    }
    match name.parse() {
        Ok(name) => Ok(UserName { name, source }),
        Err(_) => Err(UserNameError::Empty {
            source_name: source,
            text: text.chars().take(CHANNEL_BYTES_MAX).collect(),
        }),
    }
}

fn local_part(email: &str) -> &str {
    email.split_once('@').map_or(email, |(local, _)| local)
}

/// Lower case; `-` for what may not be in a path component; of separators that stand together one,
/// and `-` unless they were all the same; none at the ends; at most [`CHANNEL_BYTES_MAX`] bytes.
fn sanitised(text: &str) -> String {
    let mut name = String::new();
    for letter in text
        .get(..SOURCE_BYTES_MAX)
        .unwrap_or(text)
        .chars()
        .take(SOURCE_BYTES_MAX)
    {
        let letter = match letter.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => plain,
            _ => '-',
        };
        let is_separator = !letter.is_ascii_alphanumeric();
        match name.chars().next_back() {
            Some(last) if is_separator && !last.is_ascii_alphanumeric() => {
                if last != letter {
                    name.pop();
                    name.push('-');
                }
            }
            Some(_) => name.push(letter),
            None if is_separator => {}
            None => name.push(letter),
        }
    }
    name.truncate(CHANNEL_BYTES_MAX);
    let kept = name.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
    kept.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_fit_for_repositories() {
        let check = |text: &str, expected: &str| {
            assert_eq!(sanitised(text), expected, "{text}");
            if !expected.is_empty() {
                assert!(expected.parse::<ChannelName>().is_ok(), "{expected}");
                assert_eq!(sanitised(expected), expected, "again");
            }
        };
        check("kevinrosendahl", "kevinrosendahl");
        check("Kevin Rosendahl", "kevin-rosendahl");
        check("DOMAIN\\user", "domain-user");
        check("kevin.rosendahl+git", "kevin.rosendahl-git");
        check("a  b", "a-b");
        check("a..b", "a.b");
        check("a__b", "a_b");
        check("a._-b", "a-b");
        check("a.-b", "a-b");
        check("-._a_.-", "a");
        check("Jürgen", "j-rgen");
        check("İ", "");
        check("北京", "");
        check("...", "");
        check("", "");
        check("a/b:c@d", "a-b-c-d");
        check(&"x".repeat(70), &"x".repeat(64));
        check(&format!("{}-y", "x".repeat(63)), &"x".repeat(63));
        check("a\0\n\x1b[31mb", "a-31mb");
    }

    #[test]
    fn the_nearest_word_wins_and_shared_names_do_not() {
        let all = UserNameSources {
            flag: Some("Flag".into()),
            variable: Some("variable".into()),
            email: Some("Mail.Name+x@example.com".into()),
            account: Some("account".into()),
        };
        let check = |sources: UserNameSources, expected: Result<(&str, UserNameSource), &str>| {
            let found = user_name(&sources).map(|user| (user.name.to_string(), user.source));
            match (&found, &expected) {
                (Ok((name, source)), Ok((wanted, from))) => {
                    assert_eq!((name.as_str(), source), (*wanted, from));
                }
                (Err(error), Err(text)) => assert_eq!(error.to_string(), *text),
                _ => panic!("{found:?} is not {expected:?}"),
            }
        };
        let without_flag = UserNameSources {
            flag: None,
            ..all.clone()
        };
        let without_variable = UserNameSources {
            variable: None,
            ..without_flag.clone()
        };
        let account = |name: &str| UserNameSources {
            account: Some(name.into()),
            ..UserNameSources::default()
        };
        check(all, Ok(("flag", UserNameSource::Flag)));
        check(without_flag, Ok(("variable", UserNameSource::Variable)));
        check(without_variable, Ok(("mail.name-x", UserNameSource::Email)));
        check(account("Kevin"), Ok(("kevin", UserNameSource::Account)));
        check(
            UserNameSources::default(),
            Err("nothing says who the user is"),
        );
        check(
            account("***"),
            Err("the account on this machine is `***`, in which there is no letter or digit"),
        );
        for shared in SHARED_NAMES {
            check(
                account(&shared.to_uppercase()),
                Err(&format!(
                    "the account on this machine says `{shared}`, a name that many users and \
                     machines share"
                )),
            );
        }
    }
}
