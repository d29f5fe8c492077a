//! What a 401 asks for (`WWW-Authenticate`, RFC 9110 section 11.6.1).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// The most challenges that are read from one answer.
const CHALLENGES_MAX: usize = 10;
/// The most parameters of one challenge.
const PARAMETERS_MAX: usize = 20;
/// The longest header that is read, in bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// One way to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token of a token service (distribution's token specification).
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenges that kiln can answer, in the order of the answer. What cannot
/// be parsed ends the header it stands in.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter(|value| value.len() <= HEADER_BYTES_MAX)
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .take(CHALLENGES_MAX)
        .collect()
}

fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((scheme, after)) = token(skip(rest)) {
        let (parameters, after) = parameters(after);
        rest = after;
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            });
        }
    }
    found
}

/// `key=value` pairs up to the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let Some((key, after)) = token(skip(rest)) else {
            return (found, "");
        };
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // A word without `=` is the scheme of the next challenge.
            return (found, rest);
        };
        let Some((value, after)) = value(after.trim_start()) else {
            return (found, "");
        };
        if found.len() == PARAMETERS_MAX {
            return (found, "");
        }
        found.push((key.to_owned(), value));
        rest = after;
    }
}

fn skip(text: &str) -> &str {
    text.trim_start_matches([',', ' ', '\t'])
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut found = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((found, &quoted[at + 1..])),
            '\\' => found.push(characters.next()?.1),
            other => found.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().expect("a header"));
        let found: Vec<String> = challenges(&headers)
            .into_iter()
            .map(|challenge| match challenge {
                Challenge::Basic => "basic".to_owned(),
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                } => format!(
                    "{realm} {} {}",
                    service.as_deref().unwrap_or("-"),
                    scope.as_deref().unwrap_or("-")
                ),
            })
            .collect();
        assert_eq!(found.join("; "), expected, "{text}");
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        check("Basic realm=\"x\"", "basic");
        check("basic", "basic");
        check(
            "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"",
            "https://a/t s repository:x:pull,push",
        );
        check("bearer realm=https://a/t , service = s", "https://a/t s -");
        check(
            "Negotiate abc==, Bearer realm=\"https://a/t\", error=\"invalid_token\", Basic realm=\"q\"",
            "https://a/t - -; basic",
        );
        check(
            "Negotiate, Bearer realm=\"r\", Basic realm=\"q\"",
            "r - -; basic",
        );
        check(
            "Digest realm=\"a, Basic\", nonce=\"1\", Basic realm=\"q\"",
            "basic",
        );
        check("Bearer realm=\"a\\\"b\"", "a\"b - -");
        check("Bearer service=\"s\"", "");
        check("Bearer realm=\"open", "");
        check("", "");
        check(",,,=,", "");
    }
}
