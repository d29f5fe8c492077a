//! What a token service is asked and answers (distribution's token and OAuth2
//! specifications).

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::Secret;

/// How long a token is good for when the service does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// How long before its end a token is no longer used.
const MARGIN_MAX: Duration = Duration::from_secs(10);

/// What a token allows on one repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope {
    repository: String,
    actions: Actions,
}

/// What may be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Actions {
    Pull,
    Push,
    Delete,
    /// Of the registry as a whole, no repository.
    Catalog,
}

/// A token for the registry.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    good_until: Instant,
}

/// The body of a token service's answer.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            actions: Actions::Pull,
        }
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            actions: Actions::Push,
        }
    }

    pub(crate) fn delete(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            actions: Actions::Delete,
        }
    }

    /// The names of all repositories (distribution's token specification, "Resource Class").
    pub(crate) fn catalog() -> Self {
        Self {
            repository: String::new(),
            actions: Actions::Catalog,
        }
    }

    pub(crate) fn is_pull(&self) -> bool {
        self.actions == Actions::Pull
    }

    pub(crate) fn is_push(&self) -> bool {
        self.actions == Actions::Push
    }

    /// What is denied, in words (R03).
    pub(crate) fn denied(&self, has_account: bool) -> String {
        let who = match has_account {
            true => "the account",
            false => "who has no account",
        };
        let action = match self.actions {
            Actions::Pull => "pull from",
            Actions::Push => "push to",
            Actions::Delete => "delete from",
            Actions::Catalog => return format!("{who} may not list the repositories"),
        };
        format!("{who} may not {action} repository `{}`", self.repository)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = match self.actions {
            Actions::Pull => "pull",
            Actions::Push => "pull,push",
            Actions::Delete => "pull,delete",
            Actions::Catalog => return f.write_str("registry:catalog:*"),
        };
        write!(f, "repository:{}:{actions}", self.repository)
    }
}

impl Token {
    /// Whether it can still be used. Judged on our own monotonic clock by the
    /// life that the service named, so wrong wall clocks do not matter (R19).
    pub(crate) fn is_good(&self) -> bool {
        Instant::now() < self.good_until
    }
}

impl TokenAnswer {
    /// The token in the answer, which was asked for at `asked`.
    pub(crate) fn token(self, asked: Instant) -> Result<Token, &'static str> {
        let text = [self.token, self.access_token]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
            .ok_or("it holds no token")?;
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("its token holds blanks or control characters");
        }
        let life = self
            .expires_in
            .and_then(|number| number.as_f64())
            .filter(|seconds| *seconds > 0.0)
            .map_or(LIFE_DEFAULT, |seconds| {
                Duration::from_secs_f64(seconds.min(LIFE_MAX.as_secs_f64()))
            });
        let margin = (life / 10).min(MARGIN_MAX);
        Ok(Token {
            secret: Secret::new(text),
            good_until: asked + (life - margin),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_services() {
        let check = |json: &str, expected: Result<u64, &str>| {
            let now = Instant::now();
            let answer: TokenAnswer = serde_json::from_str(json).expect(json);
            let found = answer
                .token(now)
                .map(|token| (token.good_until - now).as_secs());
            assert_eq!(found, expected, "{json}");
        };
        check(r#"{"token":"t"}"#, Ok(54));
        check(r#"{"access_token":"t","expires_in":300}"#, Ok(290));
        check(r#"{"token":"","access_token":"t","expires_in":0}"#, Ok(54));
        check(r#"{"token":"t","expires_in":1e300}"#, Ok(43_190));
        check(r#"{"token":"t","expires_in":-5}"#, Ok(54));
        check(r#"{"expires_in":5}"#, Err("it holds no token"));
        check(
            r#"{"token":"a\nb"}"#,
            Err("its token holds blanks or control characters"),
        );
    }
}
