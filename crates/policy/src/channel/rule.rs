//! What a protected channel requires.

use std::fmt;
use std::str::FromStr;

use super::Pattern;

/// The longest rule, in bytes.
pub const RULE_BYTES_MAX: usize = 4096;

/// One rule of `require`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `clean`: everything is committed.
    Clean,
    /// `branch:PATTERN`: on such a branch, and the commit is in the remote's branch of that name.
    Branch(Pattern),
    /// `all-images`: every image in every variant that is declared.
    AllImages,
    /// `ci`, `ci:ISSUER`: an identity token that a CI system signed for this commit.
    Ci {
        /// Who has to have signed it; without one, GitHub's or GitLab's public service.
        issuer: Option<String>,
    },
    /// `signed`: every image is signed before a tag points at it.
    Signed,
    /// `not-older`: what the channel has now is an ancestor.
    NotOlder,
    /// `identity:WHO`: the verified identity is called so.
    Identity(Pattern),
    /// `tests:COMMAND`: a command of the shell that succeeds.
    Tests(String),
}

/// Why a text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such rule.
    #[error("there is no rule `{name}`{}", near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The text before the first colon.
        name: String,
        /// A rule with a name like it.
        near: Option<&'static str>,
    },
    /// The rule needs a value.
    #[error("the rule `{name}` needs a value: `{form}`")]
    Incomplete {
        /// The rule.
        name: &'static str,
        /// How it is written.
        form: &'static str,
    },
    /// The rule takes no value.
    #[error("the rule `{name}` takes no value")]
    Surplus {
        /// The rule.
        name: &'static str,
    },
    /// The rule is longer than [`RULE_BYTES_MAX`].
    #[error("a rule has {bytes} bytes, more than {RULE_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// The names of all rules, with the form of those that need a value.
const RULES: &[(&str, Option<&str>)] = &[
    ("clean", None),
    ("branch", Some("branch:PATTERN")),
    ("all-images", None),
    ("ci", None),
    ("signed", None),
    ("not-older", None),
    ("identity", Some("identity:WHO")),
    ("tests", Some("tests:COMMAND")),
];

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong { bytes: text.len() });
        }
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let Some((name, form)) = RULES.iter().find(|(known, _)| *known == name) else {
            return Err(RuleError::Unknown {
                name: name.chars().take(64).collect(),
                near: nearest(name),
            });
        };
        let bare = |rule: Self| match value {
            None => Ok(rule),
            Some(_) => Err(RuleError::Surplus { name }),
        };
        let valued = || {
            value
                .filter(|value| !value.is_empty())
                .ok_or(RuleError::Incomplete {
                    name,
                    form: form.unwrap_or(name),
                })
        };
        match *name {
            "clean" => bare(Self::Clean),
            "all-images" => bare(Self::AllImages),
            "signed" => bare(Self::Signed),
            "not-older" => bare(Self::NotOlder),
            "ci" => Ok(Self::Ci {
                issuer: value
                    .filter(|value| !value.is_empty())
                    .map(|value| value.trim_end_matches('/').to_owned()),
            }),
            "branch" => Ok(Self::Branch(Pattern::new(valued()?))),
            "identity" => Ok(Self::Identity(Pattern::new(valued()?))),
            "tests" => Ok(Self::Tests(valued()?.to_owned())),
            _ => Err(RuleError::Unknown {
                name: (*name).to_owned(),
                near: None,
            }),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => formatter.write_str("clean"),
            Self::Branch(pattern) => write!(formatter, "branch:{pattern}"),
            Self::AllImages => formatter.write_str("all-images"),
            Self::Ci { issuer: None } => formatter.write_str("ci"),
            Self::Ci {
                issuer: Some(issuer),
            } => write!(formatter, "ci:{issuer}"),
            Self::Signed => formatter.write_str("signed"),
            Self::NotOlder => formatter.write_str("not-older"),
            Self::Identity(pattern) => write!(formatter, "identity:{pattern}"),
            Self::Tests(command) => write!(formatter, "tests:{command}"),
        }
    }
}

/// The rule whose name is at most two letters away.
fn nearest(name: &str) -> Option<&'static str> {
    const DISTANCE_MAX: usize = 2;
    let name = name.get(..name.len().min(32))?;
    let scored = RULES
        .iter()
        .map(|(known, _)| (distance(known.as_bytes(), name.as_bytes()), *known));
    let (distance, known) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= DISTANCE_MAX).then_some(known)
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = text.parse::<Rule>();
            let found = found.map(|rule| rule.to_string());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        };
        for text in [
            "clean",
            "branch:main",
            "branch:release-*",
            "all-images",
            "ci",
            "ci:https://gitlab.example.com",
            "signed",
            "not-older",
            "identity:repo:org/app:*",
            "tests:make test && true",
        ] {
            check(text, Ok(text));
        }
        check(" clean ", Ok("clean"));
        check("branch: main", Ok("branch:main"));
        check(
            "ci:https://gitlab.example.com/",
            Ok("ci:https://gitlab.example.com"),
        );
        check(
            "clena",
            Err("there is no rule `clena`; did you mean `clean`?"),
        );
        check(
            "tested",
            Err("there is no rule `tested`; did you mean `tests`?"),
        );
        check("", Err("there is no rule ``; did you mean `ci`?"));
        check("weather", Err("there is no rule `weather`"));
        check("clean:yes", Err("the rule `clean` takes no value"));
        check(
            "branch",
            Err("the rule `branch` needs a value: `branch:PATTERN`"),
        );
        check(
            "tests:",
            Err("the rule `tests` needs a value: `tests:COMMAND`"),
        );
        let long = format!("tests:{}", "x".repeat(RULE_BYTES_MAX));
        check(&long, Err("a rule has 4102 bytes, more than 4096"));
        check(
            "ÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜ",
            Err("there is no rule `ÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜÜ`"),
        );
    }
}
