//! How each kind of credentials becomes an access token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::time::Instant;

use crate::assertion::{Claims, sign};
use crate::error::GoogleError;
use crate::file::{Credentials, External, Key, Target, User};
use crate::options::Ambient;
use crate::token::AccessToken;
use crate::wire::Wire;
use crate::{Endpoints, SCOPE_CLOUD_PLATFORM, Secret};
use crate::{advice, subject};

/// How long a token is used that does not say how long it is good.
const LIFE: Duration = Duration::from_secs(5 * 60);

const TOKEN_SERVICE: &str = "Google's token service";
const EXCHANGE: &str = "Google's token exchange";
const IMPERSONATION: &str = "Google's service for acting as an account";

/// What is needed on the way to a token.
pub(crate) struct Way<'a> {
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) ambient: &'a Ambient,
    pub(crate) wire: &'a Wire,
    /// For messages: where the credentials are from.
    pub(crate) place: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    expires_in: Option<f64>,
}

impl Way<'_> {
    /// A token for `scopes`.
    pub(crate) async fn token(
        &self,
        credentials: &Credentials,
        scopes: &[&str],
    ) -> Result<AccessToken, GoogleError> {
        match credentials {
            Credentials::AuthorizedUser(user) => {
                let url = self
                    .endpoints
                    .oauth2(self.place, user.token_uri.as_deref())?;
                self.user(user, &url, false).await
            }
            Credentials::ExternalUser(user) => {
                let default = format!("https://sts.{}/v1/oauthtoken", self.endpoints.universe());
                let said = user.token_uri.as_deref().unwrap_or(&default);
                let url = self.endpoints.sts(self.place, Some(said))?;
                self.user(user, &url, true).await
            }
            Credentials::ServiceAccount(key) => self.service_account(key, scopes).await,
            Credentials::External(external) => self.exchange(external, None, scopes).await,
            Credentials::Acting { source, target } => {
                // Only with this scope may one account act as another.
                let outer = [SCOPE_CLOUD_PLATFORM];
                let token = match &**source {
                    Credentials::External(external) => {
                        self.exchange(external, Some(&target.email), &outer).await?
                    }
                    other => Box::pin(self.token(other, &outer)).await?,
                };
                let who = source.name().unwrap_or_else(|| "the identity".to_owned());
                self.act_as(target, &token, scopes, &who).await
            }
        }
    }

    async fn user(
        &self,
        user: &User,
        url: &str,
        in_header: bool,
    ) -> Result<AccessToken, GoogleError> {
        let (secret, refresh) = (user.client_secret.expose(), user.refresh_token.expose());
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh)];
        if !in_header {
            form.push(("client_id", &user.client_id));
            form.push(("client_secret", secret));
        }
        let client = self.wire.client().await?;
        self.granted(TOKEN_SERVICE, &[secret, refresh], LIFE, || {
            let request = client.post(url).form(&form);
            match in_header {
                true => request.basic_auth(&user.client_id, Some(secret)),
                false => request,
            }
        })
        .await
        .map_err(advice::of_login)
    }

    async fn service_account(
        &self,
        key: &Key,
        scopes: &[&str],
    ) -> Result<AccessToken, GoogleError> {
        let url = self
            .endpoints
            .oauth2(self.place, key.token_uri.as_deref())?;
        // The audience is the address as the file has it, wherever it is asked.
        let audience = key.token_uri.as_deref().unwrap_or(&url);
        let assertion = sign(
            &key.client_email,
            &key.private_key,
            key.private_key_id.as_deref(),
            audience,
            &scopes.join(" "),
        )
        .map_err(|reason| GoogleError::File {
            place: self.place.to_owned(),
            reason: reason.to_owned(),
        })?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose()),
        ];
        let client = self.wire.client().await?;
        self.granted(TOKEN_SERVICE, &[assertion.expose()], LIFE, || {
            client.post(&url).form(&form)
        })
        .await
        .map_err(advice::of_login)
    }

    /// The exchange of another provider's token (RFC 8693), with a new one each time: they live for
    /// minutes.
    async fn exchange(
        &self,
        external: &External,
        acts_as: Option<&str>,
        scopes: &[&str],
    ) -> Result<AccessToken, GoogleError> {
        let url = self
            .endpoints
            .sts(self.place, external.token_url.as_deref())?;
        let subject = subject::token(external, acts_as, self.wire, self.ambient).await?;
        let claims = Claims::read(subject.expose()).unwrap_or_default();
        let scope = scopes.join(" ");
        let options = external
            .user_project
            .as_ref()
            .map(|project| serde_json::json!({ "userProject": project }).to_string());
        let mut form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("audience", &external.audience),
            ("scope", &scope),
            ("subject_token", subject.expose()),
            ("subject_token_type", &external.subject_token_type),
        ];
        if let Some(options) = &options {
            form.push(("options", options));
        }
        let client = self.wire.client().await?;
        let mut secrets = vec![subject.expose()];
        secrets.extend(external.client.as_ref().map(|(_, secret)| secret.expose()));
        let life = claims.time_left().unwrap_or(LIFE);
        self.granted(EXCHANGE, &secrets, life, || {
            let request = client.post(&url).form(&form);
            match &external.client {
                Some((id, secret)) => request.header(
                    "Authorization",
                    format!(
                        "Basic {}",
                        STANDARD.encode(format!("{id}:{}", secret.expose()))
                    ),
                ),
                None => request,
            }
        })
        .await
        .map_err(|error| advice::of_exchange(error, &external.audience, &claims))
    }

    /// A token of an account that `token` may act as.
    pub(crate) async fn act_as(
        &self,
        target: &Target,
        token: &AccessToken,
        scopes: &[&str],
        who: &str,
    ) -> Result<AccessToken, GoogleError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Become {
            access_token: Secret,
        }

        let mut body = serde_json::json!({
            "scope": scopes,
            "lifetime": format!("{}s", target.seconds),
        });
        if !target.delegates.is_empty() {
            body["delegates"] = target.delegates.clone().into();
        }
        let url = self.endpoints.impersonation(&target.email);
        let client = self.wire.client().await?;
        let asked = Instant::now();
        let answer = self
            .wire
            .ask(IMPERSONATION, &[token.expose()], || {
                client.post(&url).bearer_auth(token.expose()).json(&body)
            })
            .await
            .map_err(|error| advice::of_impersonation(error, &target.email, who))?;
        let granted: Become = parse(IMPERSONATION, &answer)?;
        let life = Duration::from_secs(target.seconds);
        checked(IMPERSONATION, granted.access_token, asked, life)
    }

    async fn granted(
        &self,
        service: &str,
        secrets: &[&str],
        life: Duration,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<AccessToken, GoogleError> {
        let asked = Instant::now();
        let answer = self.wire.ask(service, secrets, make).await?;
        let granted: Granted = parse(service, &answer)?;
        let life = granted
            .expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(life);
        checked(service, granted.access_token, asked, life)
    }
}

impl Credentials {
    /// The account, where the credentials say it.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::AuthorizedUser(user) | Self::ExternalUser(user) => {
                user.account.clone().filter(|account| !account.is_empty())
            }
            Self::ServiceAccount(key) => Some(key.client_email.clone()),
            Self::External(_) => None,
            Self::Acting { target, .. } => Some(target.email.clone()),
        }
    }

    /// What kind of credentials it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::AuthorizedUser(_) => "a user's login",
            Self::ExternalUser(_) => "a user's login at another provider",
            Self::ServiceAccount(_) => "a service account's key",
            Self::External(_) => "another provider's identity",
            Self::Acting { .. } => "an account that another identity may act as",
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(service: &str, answer: &[u8]) -> Result<T, GoogleError> {
    // The parser's own words could be those of the answer.
    serde_json::from_slice(answer).map_err(|_| GoogleError::Answer {
        service: service.to_owned(),
        reason: "it holds no access token",
    })
}

fn checked(
    service: &str,
    token: Secret,
    asked: Instant,
    life: Duration,
) -> Result<AccessToken, GoogleError> {
    let text = token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(GoogleError::Answer {
            service: service.to_owned(),
            reason: "its token is empty, or holds blanks or control characters",
        });
    }
    Ok(AccessToken::new(token, asked, life))
}
