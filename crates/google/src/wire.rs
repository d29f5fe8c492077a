//! Requests to services: again where that may help, never for ever, never without a bound. What a
//! service says in a refusal is kept without what was sent to it.

use std::time::{Duration, SystemTime};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::sync::OnceCell;

use crate::error::GoogleError;
use crate::options::{HttpClients, Timing, plain_client};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How much of what a service says is kept, in characters.
const SAID_CHARS_MAX: usize = 400;
/// From here on a wrong clock is worth a word.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// The way to services.
#[derive(Debug)]
pub(crate) struct Wire {
    http: HttpClients,
    client: OnceCell<Client>,
    direct: OnceCell<Client>,
    pub(crate) timing: Timing,
}

/// An answer that was read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) has_flavor: bool,
    pub(crate) body: Vec<u8>,
    /// How far our clock is from the service's, where that is much.
    skew: Option<String>,
}

impl Wire {
    pub(crate) fn new(http: HttpClients, timing: Timing) -> Self {
        Self {
            http,
            client: OnceCell::new(),
            direct: OnceCell::new(),
            timing,
        }
    }

    /// For services.
    pub(crate) async fn client(&self) -> Result<&Client, GoogleError> {
        self.client
            .get_or_try_init(|| async {
                self.http.make().map_err(|reason| GoogleError::Unreachable {
                    service: "Google".to_owned(),
                    reason,
                })
            })
            .await
    }

    /// For the metadata server, which no proxy may see.
    pub(crate) async fn direct(&self) -> Result<&Client, GoogleError> {
        self.direct
            .get_or_try_init(|| async {
                plain_client().map_err(|error| GoogleError::Unreachable {
                    service: "the metadata server".to_owned(),
                    reason: error.without_url().to_string(),
                })
            })
            .await
    }

    /// Asks until the answer will not change by itself. `secrets` are what must not be repeated.
    pub(crate) async fn ask(
        &self,
        service: &str,
        secrets: &[&str],
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Vec<u8>, GoogleError> {
        let mut pause = self.timing.pause;
        let mut attempt = 1;
        loop {
            let answer = self.once(service, make()).await;
            let is_last = attempt >= self.timing.attempts_max;
            match answer {
                Ok(answer) if answer.status.is_success() => return Ok(answer.body),
                Ok(answer) if is_last || !is_transient(answer.status) => {
                    return Err(answer.refusal(service, secrets));
                }
                Err(error) if is_last => return Err(error),
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Asks once.
    pub(crate) async fn once(
        &self,
        service: &str,
        request: RequestBuilder,
    ) -> Result<Answer, GoogleError> {
        let unreachable = |reason: String| GoogleError::Unreachable {
            service: service.to_owned(),
            reason,
        };
        let read = async {
            let answer = request.send().await.map_err(|error| causes(&error))?;
            read(answer).await
        };
        match tokio::time::timeout(self.timing.patience, read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(unreachable(reason)),
            Err(_) => {
                let seconds = self.timing.patience.as_secs();
                Err(unreachable(format!("it did not answer within {seconds} s")))
            }
        }
    }
}

impl Answer {
    /// The error that a refusal is.
    pub(crate) fn refusal(&self, service: &str, secrets: &[&str]) -> GoogleError {
        let (code, mut description) = said(&self.body);
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            description = description.replace(secret, "…");
        }
        let clean: String = description
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SAID_CHARS_MAX)
            .collect();
        GoogleError::Refused {
            service: service.to_owned(),
            status: self.status.as_u16(),
            code: code.chars().filter(|c| !c.is_control()).take(100).collect(),
            description: clean.trim().to_owned(),
            advice: self.skew.clone(),
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

async fn read(mut answer: Response) -> Result<Answer, String> {
    let flavor = answer.headers().get("metadata-flavor");
    let has_flavor = flavor.is_some_and(|value| value == "Google");
    let date = answer.headers().get("date");
    let skew = date.and_then(|date| skew(date.to_str().ok()?));
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| causes(&error))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!(
                "its answer is longer than {ANSWER_BYTES_MAX} bytes"
            ));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        status,
        has_flavor,
        body,
        skew,
    })
}

/// An error with what caused it, without the address: a query may be secret.
fn causes(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = match (error.is_connect(), error.is_timeout()) {
        (true, _) => "no connection".to_owned(),
        (_, true) => "no answer in time".to_owned(),
        _ => "the connection broke".to_owned(),
    };
    let mut cause = error.source();
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    if let Some(last) = last.filter(|last| !last.contains("://")) {
        text.push_str(": ");
        text.push_str(&last);
    }
    text
}

/// What a service says: by OAuth 2 (RFC 6749, section 5.2), as Google's APIs do, or in plain words.
fn said(body: &[u8]) -> (String, String) {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let line = text.trim().lines().next().unwrap_or("");
        // A web page says nothing to a terminal.
        let line = if line.starts_with('<') { "" } else { line };
        return (String::new(), line.to_owned());
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let error = &document["error"];
    if error.is_object() {
        return (text(&error["status"]), text(&error["message"]));
    }
    let mut description = text(&document["error_description"]);
    let subtype = text(&document["error_subtype"]);
    if !subtype.is_empty() {
        description = format!("{description} ({subtype})");
    }
    (text(error), description)
}

/// Says how wrong the clock is, by the `Date` of an answer.
fn skew(date: &str) -> Option<String> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ours = jiff::Timestamp::try_from(SystemTime::now()).ok()?;
    let seconds = ours.as_second() - theirs.as_second();
    (seconds.unsigned_abs() > SKEW_MAX.as_secs()).then(|| {
        let direction = if seconds > 0 { "ahead" } else { "behind" };
        let seconds = seconds.unsigned_abs();
        format!(
            "the clock of this machine is {seconds} s {direction} of the service's: set it right"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_and_cleaned() {
        let check = |body: &str, expected: &str| {
            let answer = Answer {
                status: StatusCode::BAD_REQUEST,
                has_flavor: false,
                body: body.as_bytes().to_vec(),
                skew: None,
            };
            let error = answer.refusal("S", &["hunter2", ""]);
            assert_eq!(error.to_string(), expected);
        };
        check(
            r#"{"error":"invalid_grant","error_description":"bad hunter2"}"#,
            "S gives no token: invalid_grant: bad … (HTTP 400)",
        );
        check(
            r#"{"error":"invalid_grant","error_description":"again","error_subtype":"invalid_rapt"}"#,
            "S gives no token: invalid_grant: again (invalid_rapt) (HTTP 400)",
        );
        check(
            r#"{"error":{"code":403,"message":"no\u001b[31m","status":"PERMISSION_DENIED"}}"#,
            "S gives no token: PERMISSION_DENIED: no [31m (HTTP 400)",
        );
        check(
            "Gaia id not found\nmore",
            "S gives no token: Gaia id not found (HTTP 400)",
        );
        check("<html>", "S gives no token: HTTP 400");
        check("", "S gives no token: HTTP 400");
    }

    #[test]
    fn a_clock_that_is_wrong_is_said() {
        let far = skew("Tue, 01 Jan 2019 00:00:00 GMT").expect("years");
        assert!(far.contains("ahead"), "{far}");
        assert_eq!(skew("yesterday"), None);
    }
}
