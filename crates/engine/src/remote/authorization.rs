//! Who we are at a git server: the secrets that BuildKit takes for that, sent to the origin of the
//! repository and nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fetch::Authorization;

use super::RemoteError;
use crate::secret::Secrets;

/// The secret with a token, as `--secret id=…`.
const TOKEN: &str = "GIT_AUTH_TOKEN";
/// The secret with a whole header.
const HEADER: &str = "GIT_AUTH_HEADER";
/// The name beside a token: what the large services expect.
const TOKEN_USER: &str = "x-access-token";

/// What is sent to the server of a repository. A secret for its host, `GIT_AUTH_TOKEN.HOST`, wins;
/// the one for all hosts is not given to plain http, where everybody on the way could read it.
pub(super) fn authorization(
    secrets: &Secrets,
    repository: &str,
) -> Result<Option<Authorization>, RemoteError> {
    let Some((scheme @ ("http" | "https"), rest)) = repository.split_once("://") else {
        return Ok(None);
    };
    let authority = rest.split('/').next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    let mut ids = vec![
        (format!("{TOKEN}.{host}"), TOKEN),
        (format!("{HEADER}.{host}"), HEADER),
    ];
    if scheme == "https" {
        ids.extend([(TOKEN.to_owned(), TOKEN), (HEADER.to_owned(), HEADER)]);
    }
    for (id, kind) in ids {
        let Some(bytes) = secrets.get(&id) else {
            continue;
        };
        let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or("\0");
        if text.chars().any(char::is_control) {
            return Err(RemoteError::Secret { id });
        }
        if text.is_empty() {
            continue;
        }
        let value = match kind {
            TOKEN => format!("basic {}", STANDARD.encode(format!("{TOKEN_USER}:{text}"))),
            _ => text.to_owned(),
        };
        let origin = format!("{scheme}://{host}/");
        return Ok(Some(Authorization::new(origin, value)));
    }
    Ok(None)
}
