//! The one place that decides where credentials and follow-up requests may go.
//!
//! A credential belongs to one origin. Every URL that a server hands out, be it
//! a redirect, the realm of a token service or the `Location` of an upload, is
//! untrusted: 2026 alone brought six advisories for clients that took such a
//! URL at its word (reliability page, D01 to D05). URLs inside manifests
//! (`urls` of foreign layers) have no function here at all: they are never
//! followed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;

/// The longest URL that a server may hand out, in bytes.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Domains under which anybody can have a name: sharing one of them says
/// nothing about belonging together. Country suffixes such as `co.uk` are
/// recognised by their form.
const SHARED_DOMAINS: [&str; 18] = [
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.io",
    "pages.dev",
    "run.app",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// Scheme, host and port: what a credential belongs to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

/// The two ways to talk to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an origin: expected `https://HOST` or `https://HOST:PORT`")]
pub struct OriginError(String);

/// Why a URL that a server handed out is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it is not a URL")]
    NotUrl,
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("its scheme `{0}` is neither http nor https")]
    Scheme(String),
    #[error("it leaves https for plain http")]
    Downgrade,
    #[error("it points at the private address {0}, which this registry may not name")]
    PrivateAddress(String),
    #[error("it holds a user name or password")]
    UserInfo,
}

/// How a request that a server asked for may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FollowUp {
    pub(crate) url: Url,
    /// Whether credentials of the first origin may go along.
    pub(crate) same_origin: bool,
}

impl Origin {
    /// The origin of a URL; `None` when it is neither http nor https.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        Some(Self {
            scheme,
            // A trailing dot names the same host, and must not make another origin of it.
            host: url
                .host_str()?
                .trim_end_matches('.')
                .to_ascii_lowercase()
                .into(),
            port: url.port_or_known_default()?,
        })
    }

    /// The origin of a registry by its `host[:port]`.
    pub(crate) fn of_registry(host_and_port: &str, scheme: Scheme) -> Result<Self, OriginError> {
        format!("{}://{host_and_port}", scheme.name()).parse()
    }

    /// Whether nothing is encrypted.
    pub(crate) fn is_plain(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// The host without port, lower case; IPv6 addresses are in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of `path`, which starts with a slash.
    pub(crate) fn url(&self, path: &str) -> Result<Url, OriginError> {
        let text = format!("{self}{path}");
        Url::parse(&text).map_err(|_| OriginError(text))
    }

    fn is_private(&self) -> bool {
        is_private_host(&self.host)
    }

    /// Decides about a `Location` that this origin, or one that it led to,
    /// answered to a request for `current`.
    ///
    /// Following is allowed to any public host, since that is how registries
    /// serve blobs; credentials stay here, https is never left, and only a
    /// registry that is itself private may name private addresses (D01, D03).
    pub(crate) fn follow(&self, current: &Url, location: &str) -> Result<FollowUp, Refusal> {
        if location.len() > URL_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let url = current.join(location).map_err(|_| Refusal::NotUrl)?;
        let Some(target) = Self::of(&url) else {
            return Err(Refusal::Scheme(url.scheme().chars().take(20).collect()));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let was_https = self.scheme == Scheme::Https || current.scheme() == "https";
        if was_https && target.scheme == Scheme::Http {
            return Err(Refusal::Downgrade);
        }
        let same_origin = target == *self;
        if !same_origin && target.is_private() && !self.is_private() {
            return Err(Refusal::PrivateAddress(target.host.into()));
        }
        Ok(FollowUp { url, same_origin })
    }

    /// Decides about the realm of a token service that this registry named
    /// (D02): where to ask, and whether credentials may go there.
    ///
    /// Credentials go to the registry's own origin, over https to hosts of its
    /// own domain, and to `allowed` services. Everybody else is asked without.
    pub(crate) fn realm(&self, realm: &str, allowed: &[Self]) -> Result<(Url, bool), Refusal> {
        if realm.len() > URL_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let url = Url::parse(realm).map_err(|_| Refusal::NotUrl)?;
        let Some(service) = Self::of(&url) else {
            return Err(Refusal::Scheme(url.scheme().chars().take(20).collect()));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if service == *self || allowed.contains(&service) {
            return Ok((url, true));
        }
        if service.scheme == Scheme::Http && self.scheme == Scheme::Https {
            return Err(Refusal::Downgrade);
        }
        if service.is_private() && !self.is_private() {
            return Err(Refusal::PrivateAddress(service.host.into()));
        }
        let trusted = service.scheme == Scheme::Https && same_domain(&self.host, &service.host);
        Ok((url, trusted))
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let fail = || OriginError(text.chars().take(200).collect());
        let url = Url::parse(text).map_err(|_| fail())?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return Err(fail());
        }
        Self::of(&url).ok_or_else(fail)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether a host, with or without port and brackets, is this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    match address(host) {
        Some(IpAddr::V4(address)) => address.is_loopback(),
        Some(IpAddr::V6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        None => false,
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn is_private_host(host: &str) -> bool {
    let private_v4 = |v4: Ipv4Addr| {
        v4.is_loopback()
            || v4.is_private()
            || v4.is_link_local()
            || v4.is_unspecified()
            || v4.is_broadcast()
            || v4.is_multicast()
            // 100.64.0.0/10, shared by carriers and cloud metadata services.
            || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
            || v4.octets()[0] == 0
    };
    let private_v6 = |v6: Ipv6Addr| {
        v6.is_loopback()
            || v6.is_unspecified()
            || v6.is_multicast()
            || v6.is_unique_local()
            || v6.is_unicast_link_local()
            || v4_within(v6).is_some_and(private_v4)
    };
    if is_loopback_host(host) {
        return true;
    }
    match address(host) {
        Some(IpAddr::V4(v4)) => private_v4(v4),
        Some(IpAddr::V6(v6)) => private_v6(v6),
        None => false,
    }
}

/// The IPv4 address that packets for an IPv6 address end up at: `::ffff:a.b.c.d` and `::a.b.c.d`
/// (RFC 4291), `64:ff9b::a.b.c.d` behind a translator (RFC 6052), `2002:…` by 6to4 (RFC 3056).
fn v4_within(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let halves = match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => [high, low],
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [high, low],
        [0x2002, high, low, _, _, _, _, _] => [high, low],
        _ => return None,
    };
    let [[a, b], [c, d]] = halves.map(u16::to_be_bytes);
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether two host names belong to one registrable domain. Without a list of
/// public suffixes this errs on the side of "no".
fn same_domain(registry: &str, service: &str) -> bool {
    if registry == service {
        return true;
    }
    if address(registry).is_some() || address(service).is_some() {
        return false;
    }
    let mut shared: Vec<&str> = registry
        .rsplit('.')
        .zip(service.rsplit('.'))
        .take_while(|(a, b)| a == b)
        .map(|(label, _)| label)
        .collect();
    shared.reverse();
    match shared.as_slice() {
        [] | [_] => false,
        // `co.uk` and its like: short names below a country.
        [second, top] if top.len() == 2 && second.len() <= 3 => false,
        _ => !is_shared(&shared),
    }
}

fn is_shared(labels: &[&str]) -> bool {
    let domain = labels.join(".");
    SHARED_DOMAINS.iter().any(|shared| {
        domain == *shared
            // A region below a shared domain, such as `eu-west-1.amazonaws.com`.
            || domain
                .strip_suffix(shared)
                .is_some_and(|rest| rest.ends_with('.') && labels.len() <= 4)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().expect(text)
    }

    #[test]
    fn origins_are_compared_as_hosts_are() {
        let same = [
            ("https://a.io", "https://A.IO:443/"),
            ("http://a.io", "http://a.io.:80"),
        ];
        for (a, b) in same {
            assert_eq!(origin(a), origin(b));
        }
        let different = [
            ("https://a.io", "http://a.io"),
            ("https://a.io", "https://a.io:444"),
            ("https://a.io", "https://b.a.io"),
        ];
        for (a, b) in different {
            assert_ne!(origin(a), origin(b));
        }
        for text in ["a.io", "ftp://a.io", "https://u@a.io", "https://a.io/x"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    fn follow(from: &str, location: &str, expected: &str) {
        let from = origin(from);
        let current = from.url("/v2/x/blobs/y").expect("a URL");
        let found = match from.follow(&current, location) {
            Ok(FollowUp {
                same_origin: true, ..
            }) => "with",
            Ok(FollowUp {
                same_origin: false, ..
            }) => "without",
            Err(_) => "no",
        };
        assert_eq!(found, expected, "{from} -> {location}");
    }

    #[test]
    fn credentials_stay_at_their_origin() {
        let a = "https://a.io";
        follow(a, "/v2/z", "with");
        follow(a, "?page=2", "with");
        follow(a, "https://A.io/z", "with");
        follow(a, "https://a.io./z", "with");
        follow(a, "//a.io/z", "with");
        follow(a, "https://a.io:8443/z", "without");
        follow(a, "https://b.io/z", "without");
        follow(a, "https://b.a.io/z", "without");
        follow(a, "http://a.io/z", "no");
        follow(a, "http://b.io/z", "no");
        follow(a, "https://user@a.io/z", "no");
        follow(a, "https://a.io:x@evil.io/z", "no");
        follow(a, "file:///etc/passwd", "no");
        follow(a, "https://169.254.169.254/z", "no");
        follow(a, "https://127.0.0.1/z", "no");
        follow(a, "https://[::ffff:10.0.0.1]/z", "no");
        follow(a, "https://[::10.0.0.1]/z", "no");
        follow(a, "https://[64:ff9b::169.254.169.254]/z", "no");
        follow(a, "https://[2002:a9fe:a9fe::1]/z", "no");
        follow(a, "https://[64:ff9b::8.8.8.8]/z", "without");
        follow(a, "https://[2606:4700::1111]/z", "without");
        follow(a, "https://0.0.0.0/z", "no");
        follow(a, "https://localhost/z", "no");
        // Decimal and hexadecimal forms are addresses too.
        follow(a, "https://2130706433/z", "no");
        follow(a, &format!("/{}", "x".repeat(URL_BYTES_MAX)), "no");
        follow(
            "http://127.0.0.1:5000",
            "http://127.0.0.1:5001/z",
            "without",
        );
        follow("http://127.0.0.1:5000", "https://b.io/z", "without");
        follow("http://10.0.0.1", "http://169.254.169.254/z", "without");
    }

    #[test]
    fn https_is_not_left_on_a_later_hop() {
        let from = origin("http://a.io");
        let current = Url::parse("https://b.io/x").expect("a URL");
        assert_eq!(
            from.follow(&current, "http://b.io/y"),
            Err(Refusal::Downgrade)
        );
    }

    fn realm(registry: &str, realm: &str, expected: &str) {
        let found = match origin(registry).realm(realm, &[origin("https://listed.net")]) {
            Ok((_, true)) => "credentials",
            Ok((_, false)) => "anonymous",
            Err(_) => "no",
        };
        assert_eq!(found, expected, "{registry} names {realm}");
    }

    #[test]
    fn token_services_of_other_domains_see_no_credentials() {
        realm(
            "https://registry-1.docker.io",
            "https://auth.docker.io/token",
            "credentials",
        );
        realm("https://a.io", "https://a.io/token", "credentials");
        realm("https://a.io", "https://listed.net/token", "credentials");
        realm(
            "https://registry.gitlab.com",
            "https://gitlab.com/jwt/auth",
            "credentials",
        );
        realm(
            "https://registry.x.co.uk",
            "https://auth.x.co.uk/t",
            "credentials",
        );
        realm(
            "https://registry.x.co.uk",
            "https://evil.co.uk/t",
            "anonymous",
        );
        realm("https://a.github.io", "https://b.github.io/t", "anonymous");
        realm(
            "https://a.us-east-1.amazonaws.com",
            "https://b.us-east-1.amazonaws.com/t",
            "anonymous",
        );
        realm("https://a.io", "https://evil.net/token", "anonymous");
        realm("https://a.io", "https://a.io.evil.net/token", "anonymous");
        realm("https://a.io", "https://xa.io/token", "anonymous");
        realm("https://a.io", "http://a.io/token", "no");
        realm("https://a.io", "http://evil.net/token", "no");
        realm("https://a.io", "https://169.254.169.254/token", "no");
        realm("https://a.io", "https://0.0.0.0/token", "no");
        realm("https://a.io", "https://[::1]/token", "no");
        realm("https://a.io", "https://u:p@a.io/token", "no");
        realm("https://a.io", "/token", "no");
        realm(
            "http://127.0.0.1:5000",
            "http://127.0.0.1:5000/token",
            "credentials",
        );
        realm(
            "http://127.0.0.1:5000",
            "http://127.0.0.1:5001/token",
            "anonymous",
        );
        realm(
            "http://127.0.0.1:5000",
            "https://auth.io/token",
            "anonymous",
        );
        realm(
            "http://reg.corp.example:5000",
            "https://auth.corp.example/token",
            "credentials",
        );
        realm(
            "http://reg.corp.example:5000",
            "http://auth.corp.example/token",
            "anonymous",
        );
    }
}
