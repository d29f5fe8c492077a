//! Asking the service: the same bytes until it accepts them, or says that it never will.

use std::time::Duration;

use jiff::Timestamp;
use oci::{Descriptor, Repository, Tag};
use reqwest::{StatusCode, Url};

use super::{SignifyCredentials, SignifyCredentialsError, request};
use crate::said;

/// The most bytes of an answer that are read: it counts for nothing but its reason (E08).
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The longest pause that a service may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A signing service.
#[derive(Clone, Debug)]
pub struct Signify {
    endpoint: Url,
    credentials: SignifyCredentials,
    http: reqwest::Client,
    timing: SignifyTiming,
}

/// How patient we are (image-builder.md §13.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignifyTiming {
    /// How often it is tried at most.
    pub attempts: u32,
    /// How long one attempt may take.
    pub deadline: Duration,
    /// The pause before the second attempt; it doubles.
    pub pause: Duration,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignifyError {
    /// Not an address, or one that everybody could listen to.
    #[error("`{0}` is not an address of a signing service (https://)")]
    Endpoint(String),
    /// An account in the address: a certificate says who we are.
    #[error(
        "the address of the signing service {0} has an account in it: \
         the certificate of the secret is what says who asks, and nothing else does"
    )]
    Account(String),
    /// Our own certificate.
    #[error(transparent)]
    Credentials(#[from] SignifyCredentialsError),
    /// A name is what is signed there.
    #[error("the signing service signs tags, and {0} gets none")]
    NoTags(String),
    /// It refuses, and would again.
    #[error("the signing service {endpoint} refused: {status}{reason}")]
    Refused {
        /// Its address.
        endpoint: String,
        /// What it answered.
        status: StatusCode,
        /// In its own words, with a colon before them.
        reason: String,
    },
    /// It does not show a certificate that we believe: it would not do so next time either.
    #[error("the certificate of the signing service {endpoint} is not trusted: {reason}")]
    Untrusted {
        /// Its address.
        endpoint: String,
        /// What the library says.
        reason: String,
        /// What is behind it.
        source: reqwest::Error,
    },
    /// It is elsewhere, and we do not go there with our certificate.
    #[error("the signing service {endpoint} sent us to another place, which is not followed")]
    Redirected {
        /// Its address.
        endpoint: String,
    },
    /// Tried as often as it was worth.
    #[error("the signing service {endpoint} could not be reached, tried {attempts} times: {last}")]
    GaveUp {
        /// Its address.
        endpoint: String,
        /// How often.
        attempts: u32,
        /// What the last attempt came to.
        last: String,
        /// What is behind it.
        source: Option<reqwest::Error>,
    },
}

impl Default for SignifyTiming {
    fn default() -> Self {
        Self {
            attempts: 5,
            deadline: Duration::from_secs(30),
            pause: Duration::from_secs(2),
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Accepted,
    /// It would not be better next time.
    Final(SignifyError),
    /// It may be.
    Passing {
        last: String,
        source: Option<reqwest::Error>,
        pause: Option<Duration>,
    },
}

impl Signify {
    /// A service at an address. `http` shows the certificate of `credentials` and follows no
    /// redirects.
    ///
    /// # Errors
    ///
    /// When it is no address.
    pub fn new(
        endpoint: &str,
        credentials: SignifyCredentials,
        http: reqwest::Client,
        timing: SignifyTiming,
    ) -> Result<Self, SignifyError> {
        let wrong = || SignifyError::Endpoint(crate::shown_text(endpoint));
        let endpoint = Url::parse(endpoint).map_err(|_| wrong())?;
        if endpoint.scheme() != "https" {
            return Err(wrong());
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(SignifyError::Account(crate::shown(&endpoint)));
        }
        Ok(Self {
            endpoint,
            credentials,
            http,
            timing,
        })
    }

    /// What tells it from other services, and is fit to be written down: the whole address is in it
    /// as a digest alone.
    pub fn identity(&self) -> String {
        let digest = oci::Digest::of(self.endpoint.as_str().as_bytes());
        format!("{} {}", self.name(), digest.hex())
    }

    /// Has the names of a digest signed. What is sent is what was pushed, never a tag that would be
    /// looked up (E07, D-44).
    ///
    /// # Errors
    ///
    /// When the service did not accept it.
    pub async fn sign(
        &self,
        subject: &Descriptor,
        repository: &Repository,
        tags: &[Tag],
        now: Timestamp,
    ) -> Result<(), SignifyError> {
        if tags.is_empty() {
            return Err(SignifyError::NoTags(format!(
                "{repository}@{}",
                subject.digest
            )));
        }
        self.credentials.check(now)?;
        let body = request(subject, repository, tags);
        let mut pause = self.timing.pause;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let outcome = tokio::time::timeout(self.timing.deadline, self.attempt(body.clone()));
            let outcome = outcome.await.unwrap_or_else(|_| Attempt::Passing {
                last: "it did not answer in time".to_owned(),
                source: None,
                pause: None,
            });
            let (last, source, wanted) = match outcome {
                Attempt::Accepted => return Ok(()),
                Attempt::Final(error) => return Err(error),
                Attempt::Passing {
                    last,
                    source,
                    pause,
                } => (last, source, pause),
            };
            if attempts >= self.timing.attempts {
                return Err(SignifyError::GaveUp {
                    endpoint: self.name(),
                    attempts,
                    last,
                    source,
                });
            }
            tokio::time::sleep(wanted.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, body: Vec<u8>) -> Attempt {
        let sent = self
            .http
            .post(self.endpoint.clone())
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                let error = error.without_url();
                let last = causes(&error);
                // In the words of rustls; in others it would only be tried in vain.
                if last.contains("invalid peer certificate") {
                    return Attempt::Final(SignifyError::Untrusted {
                        endpoint: self.name(),
                        reason: last,
                        source: error,
                    });
                }
                return Attempt::Passing {
                    last,
                    source: Some(error),
                    pause: None,
                };
            }
        };
        let status = response.status();
        if status == StatusCode::ACCEPTED {
            return Attempt::Accepted;
        }
        if status.is_redirection() {
            return Attempt::Final(SignifyError::Redirected {
                endpoint: self.name(),
            });
        }
        let pause = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut answer = Vec::new();
        while answer.len() < ANSWER_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = ANSWER_BYTES_MAX - answer.len();
                    answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Ok(None) | Err(_) => break,
            }
        }
        let reason = match said(&String::from_utf8_lossy(&answer)) {
            text if text.is_empty() => text,
            text => format!(": {text}"),
        };
        let passing = status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS;
        if passing {
            Attempt::Passing {
                last: format!("{status}{reason}"),
                source: None,
                pause,
            }
        } else {
            Attempt::Final(SignifyError::Refused {
                endpoint: self.name(),
                status,
                reason,
            })
        }
    }

    /// The address without what may be secret in it.
    fn name(&self) -> String {
        crate::shown(&self.endpoint)
    }
}

/// An error with all that caused it: "error sending request" alone helps nobody.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    said(&text)
}
