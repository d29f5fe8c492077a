//! What a request asks for, read from its path. Knows nothing of answers.

/// The endpoints of the distribution specification ("API"), and two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: is this a registry, and does it want credentials?
    Version,
    /// `/v2/<name>/blobs/<digest>`.
    Blob,
    /// `/v2/<name>/blobs/uploads/`: begins an upload, or mounts.
    UploadStart,
    /// `/v2/<name>/blobs/uploads/<session>`.
    UploadSession,
    /// `/v2/<name>/manifests/<tag or digest>`.
    Manifest,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/<name>/tags/list`.
    Tags,
    /// `/v2/<name>/referrers/<digest>`.
    Referrers,
    /// The token service that a bearer challenge names.
    Token,
    /// Everything else: a file given to [`super::Registry::serve_file`], or
    /// nothing.
    File,
}

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) repository: String,
    /// Digest, tag or upload session; empty where the endpoint has none.
    pub(crate) reference: String,
}

impl Route {
    /// Reads the path of a request, without its query.
    pub(crate) fn of(path: &str) -> Self {
        let made = |endpoint, repository: &str, reference: &str| Self {
            endpoint,
            repository: repository.to_owned(),
            reference: reference.to_owned(),
        };
        if path == "/token" {
            return made(Endpoint::Token, "", "");
        }
        let Some(rest) = path.strip_prefix("/v2") else {
            return made(Endpoint::File, "", path);
        };
        let rest = match rest {
            "" | "/" => return made(Endpoint::Version, "", ""),
            _ => rest.strip_prefix('/').unwrap_or(""),
        };
        if rest == "_catalog" {
            return made(Endpoint::Catalog, "catalog", "");
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return made(Endpoint::Tags, name, "");
        }
        let markers = [
            ("/blobs/uploads/", Endpoint::UploadSession),
            ("/blobs/", Endpoint::Blob),
            ("/manifests/", Endpoint::Manifest),
            ("/referrers/", Endpoint::Referrers),
        ];
        for (marker, endpoint) in markers {
            // A repository may itself be called `a/blobs`, so look from the right.
            let Some(at) = rest.rfind(marker) else {
                continue;
            };
            let (name, reference) = (&rest[..at], &rest[at + marker.len()..]);
            if reference.contains('/') {
                continue;
            }
            let (endpoint, reference) = match (endpoint, reference) {
                (Endpoint::UploadSession, "") | (Endpoint::Blob, "uploads") => {
                    (Endpoint::UploadStart, "")
                }
                other => other,
            };
            return made(endpoint, name, reference);
        }
        made(Endpoint::File, "", path)
    }
}

/// The value of a query parameter, percent-decoded; the first one counts.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    query_values(query, name).next()
}

/// All values of a query parameter that may be repeated.
pub(crate) fn query_values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| percent_decoded(value))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, endpoint: Endpoint, repository: &str, reference: &str) {
        let route = Route::of(path);
        assert_eq!(
            (route.endpoint, &*route.repository, &*route.reference),
            (endpoint, repository, reference),
            "{path}"
        );
    }

    #[test]
    fn paths() {
        check("/v2/", Endpoint::Version, "", "");
        check("/v2", Endpoint::Version, "", "");
        check("/v2/a/b/manifests/1", Endpoint::Manifest, "a/b", "1");
        check("/v2/a/blobs/sha256:0", Endpoint::Blob, "a", "sha256:0");
        check("/v2/a/blobs/uploads/", Endpoint::UploadStart, "a", "");
        check("/v2/a/blobs/uploads", Endpoint::UploadStart, "a", "");
        check("/v2/a/blobs/uploads/7", Endpoint::UploadSession, "a", "7");
        check(
            "/v2/a/blobs/manifests/1",
            Endpoint::Manifest,
            "a/blobs",
            "1",
        );
        check("/v2/_catalog", Endpoint::Catalog, "catalog", "");
        check("/v2/a/tags/list", Endpoint::Tags, "a", "");
        check("/v2/a/referrers/d", Endpoint::Referrers, "a", "d");
        check("/token", Endpoint::Token, "", "");
        check("/v2x", Endpoint::File, "", "/v2x");
        check("/files/1", Endpoint::File, "", "/files/1");
    }

    #[test]
    fn queries() {
        let query = "scope=repository%3Aa%3Apull&scope=b+c&n=1";
        assert_eq!(query_value(query, "n").as_deref(), Some("1"));
        assert_eq!(
            query_values(query, "scope").collect::<Vec<_>>(),
            ["repository:a:pull", "b c"]
        );
        assert_eq!(query_value(query, "m"), None);
        assert_eq!(percent_decoded("100%"), "100%");
    }
}
