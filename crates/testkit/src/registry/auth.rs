//! Who may do what: basic credentials, or tokens with scopes and a number of
//! uses (distribution's token authentication: a challenge names a realm, the
//! realm gives a token for a scope).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::route::{Endpoint, Route, query_value, query_values};

/// What the registry asks of its clients.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// A name and a password with every request.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token with every request, from a token service.
    Token {
        /// The name that the token service knows.
        user: String,
        /// Its password. The same text counts as a refresh token.
        password: String,
        /// Where the token service is.
        realm: Realm,
        /// Requests that one token is good for; `None`: any number.
        uses: Option<u32>,
        /// Whether a token to pull is given without credentials.
        anonymous_pull: bool,
    },
}

/// Where the token service of a registry is.
#[derive(Clone, Debug, Default)]
pub enum Realm {
    /// On the registry's own port.
    #[default]
    SamePort,
    /// On a port of its own.
    OtherPort,
    /// Nowhere of ours: the challenge names this URL as it is.
    Url(String),
}

impl Auth {
    /// Basic credentials.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Tokens from the same port that do not wear out; nothing for strangers.
    pub fn token(user: &str, password: &str) -> Self {
        Self::Token {
            user: user.to_owned(),
            password: password.to_owned(),
            realm: Realm::SamePort,
            uses: None,
            anonymous_pull: false,
        }
    }
}

/// The tokens given out so far.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    given: BTreeMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    /// repository → actions.
    scopes: BTreeMap<String, BTreeSet<String>>,
    uses_left: Option<u32>,
}

/// What the gate says to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Allowed,
    /// 401 with this challenge.
    Challenge(String),
}

impl Tokens {
    /// Judges a request, and wears out its token.
    pub(crate) fn judge(
        &mut self,
        auth: &Auth,
        realm_url: &str,
        method: &Method,
        route: &Route,
        authorization: Option<&str>,
    ) -> Verdict {
        match auth {
            Auth::Open => Verdict::Allowed,
            Auth::Basic { user, password } => {
                let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                if authorization == Some(expected.as_str()) {
                    Verdict::Allowed
                } else {
                    Verdict::Challenge("Basic realm=\"testkit\"".into())
                }
            }
            Auth::Token { .. } => {
                let action = action_of(method, route);
                let token = authorization
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .and_then(|text| self.given.get_mut(text));
                let known = token.is_some();
                let allowed = token.is_some_and(|token| {
                    let covered =
                        action.is_none_or(|action| token.covers(&route.repository, action));
                    covered && token.wear()
                });
                if allowed {
                    return Verdict::Allowed;
                }
                let scope = action.map_or(String::new(), |action| {
                    let actions = if action == "push" {
                        "pull,push"
                    } else {
                        action
                    };
                    format!(",scope=\"repository:{}:{actions}\"", route.repository)
                });
                let error = match (known, authorization) {
                    (_, None) => "",
                    (true, Some(_)) => ",error=\"insufficient_scope\"",
                    (false, Some(_)) => ",error=\"invalid_token\"",
                };
                Verdict::Challenge(format!(
                    "Bearer realm=\"{realm_url}\",service=\"testkit\"{scope}{error}"
                ))
            }
        }
    }

    /// Whether the bearer of this token may pull from `repository`: asked for
    /// the source of a mount.
    pub(crate) fn may_pull(
        &self,
        auth: &Auth,
        repository: &str,
        authorization: Option<&str>,
    ) -> bool {
        match auth {
            Auth::Open | Auth::Basic { .. } => true,
            Auth::Token { .. } => authorization
                .and_then(|value| value.strip_prefix("Bearer "))
                .and_then(|text| self.given.get(text))
                .is_some_and(|token| token.covers(repository, "pull")),
        }
    }

    /// Answers the token service: the JSON of a token, or `None` for 401.
    ///
    /// `parameters` is the query of a GET, or the form of a POST (OAuth2).
    pub(crate) fn issue(
        &mut self,
        auth: &Auth,
        parameters: &str,
        authorization: Option<&str>,
    ) -> Option<String> {
        let Auth::Token {
            user,
            password,
            uses,
            anonymous_pull,
            realm: _,
        } = auth
        else {
            return None;
        };
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let form = |name: &str| query_value(parameters, name);
        let by_form = match form("grant_type").as_deref() {
            Some("refresh_token") => form("refresh_token").as_ref() == Some(password),
            Some("password") => {
                form("username").as_ref() == Some(user)
                    && form("password").as_ref() == Some(password)
            }
            _ => false,
        };
        let known = by_form || authorization == Some(basic.as_str());
        if !known && (authorization.is_some() || !anonymous_pull) {
            return None;
        }
        let mut scopes = BTreeMap::<String, BTreeSet<String>>::new();
        let texts: Vec<String> = query_values(parameters, "scope").collect();
        for scope in texts.iter().flat_map(|text| text.split(' ')) {
            let Some((name, actions)) = scope
                .strip_prefix("repository:")
                .or_else(|| scope.strip_prefix("registry:"))
                .and_then(|rest| rest.rsplit_once(':'))
            else {
                continue;
            };
            let granted = actions
                .split(',')
                .filter(|action| known || *action == "pull");
            scopes
                .entry(name.to_owned())
                .or_default()
                .extend(granted.map(str::to_owned));
        }
        let text = format!("token-{}", self.given.len() + 1);
        let token = Token {
            scopes,
            uses_left: *uses,
        };
        self.given.insert(text.clone(), token);
        Some(format!(
            r#"{{"token":"{text}","access_token":"{text}","expires_in":300}}"#
        ))
    }
}

impl Token {
    fn covers(&self, repository: &str, action: &str) -> bool {
        (self.scopes.get(repository))
            .is_some_and(|actions| actions.contains(action) || actions.contains("*"))
    }

    fn wear(&mut self) -> bool {
        match &mut self.uses_left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// The action that a request needs a scope for; `None` for `/v2/`.
fn action_of(method: &Method, route: &Route) -> Option<&'static str> {
    match route.endpoint {
        Endpoint::Version | Endpoint::Token | Endpoint::File => None,
        Endpoint::Catalog => Some("*"),
        Endpoint::UploadStart | Endpoint::UploadSession => Some("push"),
        Endpoint::Blob | Endpoint::Manifest | Endpoint::Tags | Endpoint::Referrers => {
            Some(match *method {
                Method::GET | Method::HEAD => "pull",
                Method::DELETE => "delete",
                _ => "push",
            })
        }
    }
}
