//! What to do about refusals: the ones that nearly everybody meets once.

use crate::assertion::Claims;
use crate::error::GoogleError;

/// Adds advice to a refusal. What is known already, such as a wrong clock, stays.
fn advise(error: GoogleError, find: impl FnOnce(&str, &str) -> Option<String>) -> GoogleError {
    match error {
        GoogleError::Refused {
            service,
            status,
            code,
            description,
            advice,
        } => {
            let found = find(&code, &description.to_ascii_lowercase());
            let advice = match (found, advice) {
                (Some(found), Some(known)) => Some(format!("{found}; {known}")),
                (found, known) => found.or(known),
            };
            GoogleError::Refused {
                service,
                status,
                code,
                description,
                advice,
            }
        }
        other => other,
    }
}

/// The token exchange refused (RFC 8693).
pub(crate) fn of_exchange(error: GoogleError, audience: &str, claims: &Claims) -> GoogleError {
    let subject = claims.sub.as_deref().unwrap_or("unknown");
    advise(error, |code, said| {
        let advice = match code {
            "invalid_target" => format!(
                "`{audience}` is no provider that can be used: it needs the project's number, not \
                 its name, must end in /providers/PROVIDER, and the provider must be enabled"
            ),
            "invalid_grant" if said.contains("audience") => format!(
                "the token was made for another audience; it must be one that the provider allows, \
                 by default https:{audience}"
            ),
            _ if said.contains("issued at") || said.contains("future") => {
                "the token seems to come from the future: compare the clocks".to_owned()
            }
            "invalid_grant" if said.contains("expired") => {
                "the token was too old: let it be made right before it is used".to_owned()
            }
            "unauthorized_client" => format!(
                "the provider's attribute condition rejects `{subject}`: look at the repository, \
                 owner and ref that it allows"
            ),
            "invalid_request" if said.contains("127") || said.contains("mapped attribute") => {
                format!(
                    "`{subject}` is too long for google.subject (127 bytes): map a shorter claim, \
                     such as assertion.repository"
                )
            }
            _ => return None,
        };
        Some(advice)
    })
}

/// An account may not be acted as.
pub(crate) fn of_impersonation(error: GoogleError, email: &str, who: &str) -> GoogleError {
    advise(error, |code, said| {
        if said.contains("lifetime") {
            return Some(
                "more than 3600 s need the organisation policy \
                 iam.allowServiceAccountCredentialLifetimeExtension"
                    .to_owned(),
            );
        }
        if said.contains("has not been used") || said.contains("is disabled") {
            return Some(
                "enable the API: gcloud services enable iamcredentials.googleapis.com".to_owned(),
            );
        }
        if said.contains("getaccesstoken") || code == "PERMISSION_DENIED" {
            return Some(format!(
                "grant {who} the role roles/iam.workloadIdentityUser (a federated identity) or \
                 roles/iam.serviceAccountTokenCreator (an account) on {email}; a new grant takes up \
                 to five minutes"
            ));
        }
        (code == "NOT_FOUND").then(|| format!("there is no account {email}"))
    })
}

/// A login or a key was refused.
pub(crate) fn of_login(error: GoogleError) -> GoogleError {
    advise(error, |code, said| {
        if said.contains("invalid_rapt") || said.contains("reauth") {
            return Some(
                "the organisation wants a new login: gcloud auth application-default login"
                    .to_owned(),
            );
        }
        match code {
            "invalid_grant" if said.contains("iat") || said.contains("timeframe") => {
                Some("compare the clock of this machine with the real time".to_owned())
            }
            "invalid_grant" if said.contains("signature") || said.contains("account not found") => {
                Some("the key or its account was deleted: make a new one".to_owned())
            }
            "invalid_grant" => Some(
                "the login has ended or was revoked: gcloud auth application-default login"
                    .to_owned(),
            ),
            "invalid_client" | "unauthorized_client" => {
                Some("log in again: gcloud auth application-default login".to_owned())
            }
            _ => None,
        }
    })
}

/// The metadata server refused.
pub(crate) fn of_metadata(error: GoogleError) -> GoogleError {
    advise(error, |_, said| {
        said.contains("gaia id not found").then(|| {
            "the annotation iam.gke.io/gcp-service-account of the Kubernetes service account names \
             an account that does not exist: correct it, or make the account"
                .to_owned()
        })
    })
}

/// GitHub gives no identity token.
pub(crate) const GITHUB_PERMISSION: &str = "give the job `permissions: id-token: write` (beside \
     `contents: read`); jobs for pull requests from forks never get it";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, description: &str) -> GoogleError {
        GoogleError::Refused {
            service: "S".to_owned(),
            status: 400,
            code: code.to_owned(),
            description: description.to_owned(),
            advice: None,
        }
    }

    #[test]
    fn frequent_refusals_of_the_exchange_have_advice() {
        let claims = Claims {
            sub: Some("repo:o/r:ref:refs/heads/main".to_owned()),
            ..Claims::default()
        };
        let check = |code: &str, description: &str, expected: &str| {
            let error = of_exchange(refused(code, description), "//iam/x", &claims);
            let advice = error.advice().unwrap_or_default();
            assert!(advice.contains(expected), "{code} {description}: {advice}");
        };
        check(
            "invalid_target",
            "The target service is invalid",
            "project's number",
        );
        check(
            "invalid_grant",
            "The audience in ID Token [x] does not match the expected audience.",
            "another audience",
        );
        check(
            "unauthorized_client",
            "The given credential is rejected by the attribute condition.",
            "rejects `repo:o/r:ref:refs/heads/main`",
        );
        check(
            "invalid_request",
            "The size of mapped attribute google.subject exceeds the 127 bytes limit",
            "127 bytes",
        );
        check(
            "invalid_grant",
            "ID Token issued at 5 is stale or in the future",
            "clocks",
        );
        assert_eq!(of_exchange(refused("x", "y"), "a", &claims).advice(), None);
    }

    #[test]
    fn frequent_refusals_of_accounts_have_advice() {
        let check = |error: GoogleError, expected: &str| {
            let advice = error.advice().unwrap_or_default();
            assert!(advice.contains(expected), "{advice}");
        };
        let denied = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource";
        check(
            of_impersonation(refused("PERMISSION_DENIED", denied), "b@p", "principal"),
            "roles/iam.workloadIdentityUser",
        );
        let lifetime = "The lifetime exceeds the maximum";
        check(
            of_impersonation(refused("INVALID_ARGUMENT", lifetime), "b@p", "w"),
            "organisation policy",
        );
        check(
            of_login(refused(
                "invalid_grant",
                "reauth related error (invalid_rapt)",
            )),
            "new login",
        );
        check(of_login(refused("invalid_grant", "Bad Request")), "revoked");
        check(
            of_metadata(refused("", "Gaia id not found for email x@y")),
            "annotation",
        );
    }
}
