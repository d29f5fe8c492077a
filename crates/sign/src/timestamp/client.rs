//! Asking an authority.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use oci::Attachment;
use reqwest::Url;

use super::request::{Answer, NONCE_BYTES, answer, nonce, request};
use super::{TOKEN_BYTES_MAX, TokenError, verify};
use crate::certificate::Certificate;
use crate::notary::{Draft, SignerError};

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The most bytes of an answer: a token and what is around it.
const ANSWER_BYTES_MAX: usize = TOKEN_BYTES_MAX + 4096;

/// A timestamp authority, and whom to believe that it is one.
#[derive(Clone, Debug)]
pub struct TimestampAuthority {
    address: Url,
    roots: Vec<Certificate>,
    http: reqwest::Client,
    deadline: Duration,
}

/// Why there is no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum TimestampError {
    /// Not an address.
    #[error("`{0}` is not an address of a timestamp authority (http:// or https://)")]
    Address(String),
    /// No answer.
    #[error("the timestamp authority {address} could not be asked")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It takes too long.
    #[error("the timestamp authority {0} did not answer in time")]
    Silent(String),
    /// An answer that is none.
    #[error("the timestamp authority {address} answered {what}")]
    Answer {
        /// Its address.
        address: String,
        /// What came.
        what: String,
    },
    /// It does not want to.
    #[error("the timestamp authority {address} refused (status {status}): {words}")]
    Refused {
        /// Its address.
        address: String,
        /// PKIStatus (RFC 3161, 2.4.2).
        status: u64,
        /// In its own words.
        words: String,
    },
    /// A token that would not count.
    #[error("the timestamp of {address} does not count")]
    Token {
        /// The authority's address.
        address: String,
        /// Why.
        source: TokenError,
    },
    /// No random numbers.
    #[error("this machine gives no random numbers")]
    Random,
    /// The signature that was to be stamped.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl TimestampAuthority {
    /// An authority at an address. `http` must follow no redirects.
    ///
    /// # Errors
    ///
    /// When it is no address.
    pub fn new(
        address: &str,
        roots: Vec<Certificate>,
        http: reqwest::Client,
    ) -> Result<Self, TimestampError> {
        let wrong = || TimestampError::Address(crate::shown_text(address));
        let address = Url::parse(address).map_err(|_| wrong())?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(wrong());
        }
        Ok(Self {
            address,
            roots,
            http,
            deadline: DEADLINE,
        })
    }

    /// With another patience than the usual, for tests.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Has a signature stamped, believes nothing of the answer, and puts both together.
    ///
    /// # Errors
    ///
    /// When there is no answer, or one that would not count.
    pub async fn stamp(&self, draft: Draft<'_>) -> Result<Attachment, TimestampError> {
        let mut random = [0; NONCE_BYTES];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| TimestampError::Random)?;
        let nonce = nonce(random);
        let (hash, imprint) = draft.imprint();
        let answered = self.ask(request(hash, &imprint, &nonce)).await?;
        let token = match answer(&answered) {
            Ok(Answer::Granted(token)) => token,
            Ok(Answer::Refused { status, words }) => {
                return Err(TimestampError::Refused {
                    address: self.name(),
                    status,
                    words,
                });
            }
            Err(_) => return Err(self.answered("something that is not of RFC 3161".to_owned())),
        };
        verify(token, draft.signature(), Some(&nonce), &self.roots).map_err(|source| {
            TimestampError::Token {
                address: self.name(),
                source,
            }
        })?;
        Ok(draft.finish(Some(token))?)
    }

    /// One request and its whole answer.
    async fn ask(&self, body: Vec<u8>) -> Result<Vec<u8>, TimestampError> {
        let unreachable = |source: reqwest::Error| TimestampError::Unreachable {
            address: self.name(),
            source: source.without_url(),
        };
        let exchange = async {
            let mut response = self
                .http
                .post(self.address.clone())
                .header("content-type", "application/timestamp-query")
                .header("accept", "application/timestamp-reply")
                .body(body)
                .send()
                .await
                .map_err(unreachable)?;
            let status = response.status();
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > ANSWER_BYTES_MAX {
                    return Err(self.answered(format!("more than {ANSWER_BYTES_MAX} bytes")));
                }
            }
            if status.as_u16() != 200 {
                return Err(self.answered(format!("{status}")));
            }
            Ok(bytes)
        };
        match tokio::time::timeout(self.deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(TimestampError::Silent(self.name())),
        }
    }

    fn answered(&self, what: String) -> TimestampError {
        TimestampError::Answer {
            address: self.name(),
            what,
        }
    }

    /// The address without what may be secret in it.
    fn name(&self) -> String {
        crate::shown(&self.address)
    }
}
