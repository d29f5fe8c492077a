//! Where Google's services are, and which addresses in files of credentials are believed.

use reqwest::Url;

use crate::error::GoogleError;

/// The domain of Google's public cloud.
pub const UNIVERSE: &str = "googleapis.com";

/// Where services are. What is not said follows from the universe.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// The domain of the services: [`UNIVERSE`] where nothing else is said. A file of credentials
    /// cannot change it, for such a file may come from anywhere.
    pub universe: Option<String>,
    /// The whole address of the token exchange (RFC 8693).
    pub sts: Option<String>,
    /// In front of `/v1/projects/-/serviceAccounts/…`.
    pub iam_credentials: Option<String>,
    /// The whole address of the OAuth 2 token service.
    pub oauth2: Option<String>,
    /// In front of `/computeMetadata/v1/…`.
    pub metadata: Option<String>,
}

impl Endpoints {
    pub(crate) fn universe(&self) -> &str {
        self.universe.as_deref().unwrap_or(UNIVERSE)
    }

    /// Where tokens are exchanged; `said` is what a file says.
    pub(crate) fn sts(&self, place: &str, said: Option<&str>) -> Result<String, GoogleError> {
        let default = || format!("https://sts.{}/v1/token", self.universe());
        self.choose(&self.sts, place, "token_url", said, default)
    }

    /// Where refresh tokens and signed assertions are exchanged; `said` is what a file says.
    pub(crate) fn oauth2(&self, place: &str, said: Option<&str>) -> Result<String, GoogleError> {
        let default = || format!("https://oauth2.{}/token", self.universe());
        self.choose(&self.oauth2, place, "token_uri", said, default)
    }

    /// Where an account's token is had by somebody who may act as it.
    pub(crate) fn impersonation(&self, email: &str) -> String {
        let base = match &self.iam_credentials {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => format!("https://iamcredentials.{}", self.universe()),
        };
        format!("{base}/v1/projects/-/serviceAccounts/{email}:generateAccessToken")
    }

    /// The account in an address that ends in `serviceAccounts/EMAIL:generateAccessToken`, where that
    /// address is Google's.
    pub(crate) fn impersonated(&self, place: &str, url: &str) -> Result<String, GoogleError> {
        if self.iam_credentials.is_none() {
            self.believe(place, "service_account_impersonation_url", url)?;
        }
        url.rsplit_once("/serviceAccounts/")
            .and_then(|(_, rest)| rest.strip_suffix(":generateAccessToken"))
            .filter(|email| is_account(email))
            .map(str::to_owned)
            .ok_or_else(|| GoogleError::File {
                place: place.to_owned(),
                reason: "its service_account_impersonation_url does not end in \
                         serviceAccounts/EMAIL:generateAccessToken"
                    .to_owned(),
            })
    }

    fn choose(
        &self,
        overridden: &Option<String>,
        place: &str,
        what: &'static str,
        said: Option<&str>,
        default: impl Fn() -> String,
    ) -> Result<String, GoogleError> {
        match (overridden, said) {
            (Some(url), _) => Ok(url.clone()),
            (None, None) => Ok(default()),
            (None, Some(url)) => {
                self.believe(place, what, url)?;
                Ok(url.to_owned())
            }
        }
    }

    /// A file that somebody planted could have tokens sent to him.
    fn believe(&self, place: &str, what: &'static str, text: &str) -> Result<(), GoogleError> {
        let universe = self.universe();
        let url = Url::parse(text).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or("");
        let is_google = |host: &str| {
            let below = host.strip_suffix(universe);
            below.is_some_and(|front| front.ends_with('.'))
                // What old keys of service accounts name.
                || (universe == UNIVERSE && host == "accounts.google.com")
        };
        let plain = url.as_ref().is_some_and(|url| {
            url.scheme() == "https"
                && url.username().is_empty()
                && url.password().is_none()
                && url.port_or_known_default() == Some(443)
        });
        if plain && is_google(host) {
            return Ok(());
        }
        Err(GoogleError::Foreign {
            place: place.to_owned(),
            what,
            host: host.chars().take(100).collect(),
            universe: universe.to_owned(),
        })
    }
}

/// Whether a text can be the name of an account in an address.
pub(crate) fn is_account(email: &str) -> bool {
    const ACCOUNT_BYTES_MAX: usize = 256;
    !email.is_empty()
        && email.len() <= ACCOUNT_BYTES_MAX
        && email
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"@.-_:%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_google_are_believed() {
        let check = |url: &str, believed: bool| {
            let found = Endpoints::default().sts("file", Some(url));
            assert_eq!(found.is_ok(), believed, "{url}");
        };
        check("https://sts.googleapis.com/v1/token", true);
        check("https://sts.us-east1.rep.googleapis.com/v1/token", true);
        check("https://accounts.google.com/o/oauth2/token", true);
        check("http://sts.googleapis.com/v1/token", false);
        check("https://sts.googleapis.com:444/v1/token", false);
        check("https://u@sts.googleapis.com/v1/token", false);
        check("https://sts.googleapis.com.evil.example/v1/token", false);
        check("https://evilgoogleapis.com/v1/token", false);
        check("https://evil.example/?x=.googleapis.com", false);
        check("https://evil.example#.googleapis.com", false);
        check("file:///etc/passwd", false);
        check("sts.googleapis.com", false);
        let other = Endpoints {
            universe: Some("cloud.example".to_owned()),
            ..Endpoints::default()
        };
        assert!(other.sts("f", Some("https://sts.cloud.example/")).is_ok());
        assert!(other.sts("f", Some("https://sts.googleapis.com/")).is_err());
        assert_eq!(
            other.sts("f", None).unwrap(),
            "https://sts.cloud.example/v1/token"
        );
        // Who overrides an address has decided already.
        let test = Endpoints {
            sts: Some("http://127.0.0.1:1/sts".to_owned()),
            ..Endpoints::default()
        };
        let url = test.sts("f", Some("https://evil.example/")).unwrap();
        assert_eq!(url, "http://127.0.0.1:1/sts");
    }

    #[test]
    fn the_account_of_an_impersonation_is_put_into_our_own_address() {
        let check = |url: &str, expected: Option<&str>| {
            let found = Endpoints::default().impersonated("file", url).ok();
            assert_eq!(found.as_deref(), expected, "{url}");
        };
        let base = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";
        check(
            &format!("{base}/a@p.iam.gserviceaccount.com:generateAccessToken"),
            Some("a@p.iam.gserviceaccount.com"),
        );
        check(&format!("{base}/a/../b:generateAccessToken"), None);
        check(&format!("{base}/a:generateIdToken"), None);
        check(
            "https://evil.example/serviceAccounts/a:generateAccessToken",
            None,
        );
    }
}
