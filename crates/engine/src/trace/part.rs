//! What a step's key was made from, in the form that is kept: short texts as they are, longer ones
//! and values that are nobody's business as digests.

use std::fmt;

use dockerfile::lint::sounds_like_a_secret;
use dockerfile::remote::without_credentials;
use graph::{KeyPart, KeyParts, PartValue};
use oci::Digest;
use serde::{Deserialize, Serialize};

/// A named part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part(pub String, pub Value);

/// Its value. Written as one text, with a letter in front that says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub(crate) enum Value {
    /// As it is.
    Text(String),
    /// The digest of a longer text.
    Long(String),
    /// The digest of something else.
    Digest(String),
    /// A value that is not to be seen; the digest of it.
    Hidden(String),
}

/// Whose values are not to be seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hiding {
    /// Names of variables, as they are.
    pub names: Vec<String>,
}

/// Proxies have passwords in their addresses.
const PROXIES: [&str; 5] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
];

impl Hiding {
    /// Whether the value of a part may be seen by nobody. What is kept goes to shared caches, and not
    /// all stages are in the image: an argument that nobody would find there must not be found here.
    fn hides(&self, part: &str) -> bool {
        let Some(name) = part.strip_prefix("env.") else {
            return false;
        };
        PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
            || self.names.iter().any(|hidden| hidden == name)
            || sounds_like_a_secret(name)
    }

    /// The parts of a key as they are kept; `redact` takes secrets out of texts.
    pub(crate) fn parts(&self, parts: &KeyParts, redact: &dyn Fn(&str) -> String) -> Vec<Part> {
        parts
            .iter()
            .map(|KeyPart { name, value }| {
                let value = match value {
                    PartValue::Text(text) if self.hides(name) => hidden(&of(text)),
                    PartValue::Text(text) => {
                        let shown = redact(&without_credentials(text));
                        match shown == *text {
                            true => Value::Text(shown),
                            // Two secrets that look the same when they are hidden are two.
                            false => hidden(&of(text)),
                        }
                    }
                    PartValue::LongText { digest, .. } if self.hides(name) => hidden(digest),
                    PartValue::LongText { digest, .. } => Value::Long(short(digest)),
                    PartValue::Digest(digest) => Value::Digest(digest.to_string()),
                };
                Part(name.clone(), value)
            })
            .collect()
    }
}

/// Enough to see that a value is another one, and too little to find out by guessing what it is:
/// 16 bits.
fn hidden(digest: &Digest) -> Value {
    Value::Hidden(digest.hex()[..4].to_owned())
}

fn of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Enough to see that something is another.
fn short(digest: &Digest) -> String {
    digest.short().to_owned()
}

impl From<Value> for String {
    fn from(value: Value) -> Self {
        match value {
            Value::Text(text) => format!("t{text}"),
            Value::Long(digest) => format!("l{digest}"),
            Value::Digest(digest) => format!("d{digest}"),
            Value::Hidden(digest) => format!("h{digest}"),
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        let mut rest = text.chars();
        match (rest.next(), rest.as_str()) {
            (Some('l'), digest) => Self::Long(digest.to_owned()),
            (Some('d'), digest) => Self::Digest(digest.to_owned()),
            (Some('t'), text) => Self::Text(text.to_owned()),
            // What a later kiln means by another letter is not for our eyes.
            (_, rest) => Self::Hidden(rest.to_owned()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Long(digest) => write!(formatter, "a long text ({digest})"),
            Self::Digest(digest) => formatter.write_str(digest),
            Self::Hidden(_) => formatter.write_str("****"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_business_is_hidden() {
        let hiding = Hiding {
            names: vec!["mine".to_owned()],
        };
        for name in [
            "env.NPM_TOKEN",
            "env.db_password",
            "env.HTTP_PROXY",
            "env.mine",
        ] {
            assert!(hiding.hides(name), "{name}");
        }
        for name in ["env.PATH", "env.TOKEN_FILE", "argument.2", "NPM_TOKEN"] {
            assert!(!hiding.hides(name), "{name}");
        }
    }
}
