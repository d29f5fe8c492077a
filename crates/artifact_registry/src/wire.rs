//! Requests: again where that may help, never for ever, never without a bound.

use std::time::Duration;

use google::Google;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use crate::ApiError;

/// What the service is asked with.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How much of what the service says is kept, in characters.
const SAID_CHARS_MAX: usize = 400;
/// The longest pause that the service may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For one answer.
    pub patience: Duration,
    /// How often a service that is in trouble is asked.
    pub attempts_max: u32,
    /// The pause after the first trouble, and between two looks at something that goes on; it
    /// doubles.
    pub pause: Duration,
    /// How often is looked whether something that was begun is done.
    pub looks_max: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            attempts_max: 5,
            pause: Duration::from_millis(500),
            looks_max: 12,
        }
    }
}

/// The way to the service.
pub(crate) struct Wire {
    pub(crate) endpoint: String,
    pub(crate) google: Google,
    pub(crate) http: reqwest::Client,
    pub(crate) timing: Timing,
}

/// One question.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Below `/v1/`, with the query.
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    /// For messages: `create the repository x`.
    pub(crate) action: &'a str,
    /// What a refusal for want of permission lacks.
    pub(crate) permission: &'static str,
    /// The smallest role that has it.
    pub(crate) role: &'static str,
}

impl Wire {
    /// Asks; `None` when there is no such thing (404).
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Option<Value>, ApiError> {
        let mut pause = self.timing.pause;
        let mut fresh = false;
        let mut attempt = 1;
        loop {
            let token = match fresh {
                true => self.google.renewed_access_token(&[SCOPE]).await?,
                false => self.google.access_token(&[SCOPE]).await?,
            };
            let answer = self.once(ask, token.expose()).await;
            let is_last = attempt >= self.timing.attempts_max;
            let asked_for = match answer {
                Ok((status, _, body)) if status.is_success() => {
                    let value = serde_json::from_slice(&body)
                        .map_err(|error| ApiError::Answer(error.to_string()))?;
                    return Ok(Some(value));
                }
                Ok((StatusCode::NOT_FOUND, ..)) => return Ok(None),
                // A token that the service has stopped to believe: once more with a new one.
                Ok((StatusCode::UNAUTHORIZED, ..)) if !fresh && !is_last => {
                    fresh = true;
                    attempt += 1;
                    continue;
                }
                Ok((status, _, body)) if is_last || !is_transient(status) => {
                    return Err(self.refusal(ask, status, &body).await);
                }
                Err(error) if is_last => return Err(error),
                Ok((_, asked_for, _)) => asked_for,
                Err(_) => None,
            };
            tokio::time::sleep(asked_for.map_or(pause, |asked_for| asked_for.min(PAUSE_MAX))).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        ask: &Ask<'_>,
        token: &str,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), ApiError> {
        let url = format!("{}/v1/{}", self.endpoint.trim_end_matches('/'), ask.path);
        let mut request = self
            .http
            .request(ask.method.clone(), url)
            .bearer_auth(token);
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        let exchange = async {
            let answer = request
                .send()
                .await
                .map_err(|error| error.without_url().to_string())?;
            let asked_for = retry_after(&answer);
            let status = answer.status();
            Ok::<_, String>((status, asked_for, read(answer).await?))
        };
        match tokio::time::timeout(self.timing.patience, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(ApiError::Unreachable(reason)),
            Err(_) => Err(ApiError::Unreachable(format!(
                "it did not answer within {} s",
                self.timing.patience.as_secs()
            ))),
        }
    }

    async fn refusal(&self, ask: &Ask<'_>, status: StatusCode, body: &[u8]) -> ApiError {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &document["error"];
        let text = |value: &Value| -> Option<String> {
            let text: String = value
                .as_str()?
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(SAID_CHARS_MAX)
                .collect();
            Some(text)
        };
        let details = error["details"].as_array();
        let info = details.into_iter().flatten().find(|detail| {
            let kind = detail["@type"].as_str().unwrap_or_default();
            kind.ends_with("google.rpc.ErrorInfo")
        });
        let is_disabled = info.is_some_and(|info| info["reason"] == "SERVICE_DISABLED");
        let name = text(&error["status"]);
        let is_denied = name.as_deref() == Some("PERMISSION_DENIED") || status == 403;
        let advice = if is_disabled {
            Some("gcloud services enable artifactregistry.googleapis.com".to_owned())
        } else if is_denied {
            let who = match self.google.identity().await {
                Ok(identity) => identity.account.unwrap_or(identity.place),
                Err(_) => "the account".to_owned(),
            };
            Some(format!(
                "{who} needs the permission {}, which {} has",
                ask.permission, ask.role
            ))
        } else {
            None
        };
        ApiError::Refused {
            action: ask.action.to_owned(),
            status: name.unwrap_or_else(|| status.as_u16().to_string()),
            message: text(&error["message"]).unwrap_or_else(|| "it does not say why".to_owned()),
            advice,
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let piece = answer.chunk().await;
        match piece.map_err(|error| error.without_url().to_string())? {
            None => return Ok(body),
            Some(piece) if body.len() + piece.len() <= ANSWER_BYTES_MAX => {
                body.extend_from_slice(&piece);
            }
            Some(_) => return Err(format!("its answer has more than {ANSWER_BYTES_MAX} bytes")),
        }
    }
}
