//! Why there is no token. Never holds one, nor anything that could become one.

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// No source has anything.
    #[error("no account at Google was found ({})", tried.join("; "))]
    NoAccount {
        /// Where it was looked, in order, and what was there.
        tried: Vec<String>,
    },
    /// Credentials or settings cannot be used.
    #[error("{place}: {reason}")]
    File {
        /// The file, or the flag.
        place: String,
        /// What is wrong. Never a value.
        reason: String,
    },
    /// A file of credentials would have tokens sent elsewhere.
    #[error(
        "{place}: its {what} is at `{host}`, which is not below {universe}: nothing is sent there"
    )]
    Foreign {
        /// The file.
        place: String,
        /// The key.
        what: &'static str,
        /// The host there.
        host: String,
        /// Where it should be.
        universe: String,
    },
    /// No answer.
    #[error("{service} cannot be reached: {reason}")]
    Unreachable {
        /// Which service.
        service: String,
        /// Why.
        reason: String,
    },
    /// The answer is no.
    #[error("{service} gives no token: {}", said(*status, code, description))]
    Refused {
        /// Which service.
        service: String,
        /// Of HTTP.
        status: u16,
        /// Such as `invalid_grant`; may be empty.
        code: String,
        /// In the service's words, without anything secret; may be empty.
        description: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// The answer makes no sense.
    #[error("the answer of {service} cannot be understood: {reason}")]
    Answer {
        /// Which service.
        service: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The other identity provider's token cannot be had.
    #[error("there is no token of the other identity provider: {reason}")]
    Subject {
        /// Why.
        reason: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// A program that should have known.
    #[error("{program} gave no token: {reason}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
}

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoogleErrorKind {
    /// There is no account.
    NoAccount,
    /// What there is cannot be used.
    Unusable,
    /// Nobody answered.
    Unreachable,
    /// The account is not accepted.
    Denied,
}

impl GoogleError {
    /// The kind of failure.
    pub fn kind(&self) -> GoogleErrorKind {
        match self {
            Self::NoAccount { .. } => GoogleErrorKind::NoAccount,
            Self::File { .. } | Self::Foreign { .. } => GoogleErrorKind::Unusable,
            Self::Unreachable { .. } => GoogleErrorKind::Unreachable,
            Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Subject { .. }
            | Self::Program { .. } => GoogleErrorKind::Denied,
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::NoAccount { .. } => {
                "set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, or \
                 name a --gcp-workload-identity-provider"
            }
            Self::Refused { advice, .. } | Self::Subject { advice, .. } => return advice.clone(),
            Self::Foreign { .. } => {
                "use a file from a source that you trust; another cloud's domain is set with \
                 GOOGLE_CLOUD_UNIVERSE_DOMAIN, another address with KILN_ENDPOINT_STS, \
                 KILN_ENDPOINT_OAUTH2 or KILN_ENDPOINT_IAMCREDENTIALS"
            }
            Self::Unreachable { .. } => "check the network and the proxy settings",
            Self::Program { .. } => {
                "run it by hand to see what it says; `gcloud auth login` renews a login"
            }
            Self::File { .. } | Self::Answer { .. } => return None,
        };
        Some(advice.to_owned())
    }
}

fn said(status: u16, code: &str, description: &str) -> String {
    match (code, description) {
        ("", "") => format!("HTTP {status}"),
        (code, "") => format!("{code} (HTTP {status})"),
        ("", description) => format!("{description} (HTTP {status})"),
        (code, description) => format!("{code}: {description} (HTTP {status})"),
    }
}
