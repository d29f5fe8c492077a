//! The machine's own account: the metadata server of Google's machines and clusters.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::advice;
use crate::error::GoogleError;
use crate::options::MetadataUse;
use crate::token::AccessToken;
use crate::wire::{Answer, Wire};
use crate::{Endpoints, Secret};

/// Where the server is, without any name service.
const ADDRESS: &str = "http://169.254.169.254";
const SERVICE: &str = "the metadata server";
/// How often it is asked whether it is there.
const DETECTIONS_MAX: u32 = 3;
const ACCOUNTS: &str = "/computeMetadata/v1/instance/service-accounts";

/// Whether this machine has a metadata server of Google's. Others answer at that address too, so the
/// answer has to say whose it is.
pub(crate) async fn is_present(
    usage: MetadataUse,
    endpoints: &Endpoints,
    wire: &Wire,
) -> Result<bool, GoogleError> {
    match usage {
        MetadataUse::Never => return Ok(false),
        MetadataUse::Present => return Ok(true),
        MetadataUse::Detect => {}
    }
    let client = wire.direct().await?;
    for _ in 0..DETECTIONS_MAX {
        let request = client
            .get(format!("{}/", base(endpoints)))
            .header("Metadata-Flavor", "Google");
        let answer = tokio::time::timeout(wire.timing.detection, wire.once(SERVICE, request)).await;
        match answer {
            Ok(Ok(answer)) => return Ok(answer.has_flavor),
            // No way there at all: nothing that a second question would change.
            Ok(Err(GoogleError::Unreachable { reason, .. }))
                if reason.contains("unreachable") || reason.contains("No route") =>
            {
                return Ok(false);
            }
            Ok(Err(_)) => tokio::time::sleep(wire.timing.pause).await,
            Err(_) => {}
        }
    }
    Ok(false)
}

/// A token of the machine's account.
pub(crate) async fn token(
    scopes: &[&str],
    endpoints: &Endpoints,
    wire: &Wire,
) -> Result<AccessToken, GoogleError> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: Secret,
        expires_in: u64,
    }

    let asked = Instant::now();
    let path = format!("{ACCOUNTS}/default/token?scopes={}", scopes.join(","));
    let body = ask(&path, endpoints, wire).await?;
    let granted: Granted = serde_json::from_slice(&body).map_err(|_| GoogleError::Answer {
        service: SERVICE.to_owned(),
        reason: "it holds no access_token",
    })?;
    let life = Duration::from_secs(granted.expires_in);
    Ok(AccessToken::new(granted.access_token, asked, life))
}

/// The name of the machine's account.
pub(crate) async fn email(endpoints: &Endpoints, wire: &Wire) -> Result<String, GoogleError> {
    let body = ask(&format!("{ACCOUNTS}/default/email"), endpoints, wire).await?;
    String::from_utf8(body)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| crate::endpoints::is_account(text))
        .ok_or_else(|| GoogleError::Answer {
            service: SERVICE.to_owned(),
            reason: "it is no name of an account",
        })
}

/// Asks for something of the account. In a cluster the server needs some seconds until it knows the
/// identity of a new pod; until then it says 404 or fails.
async fn ask(path: &str, endpoints: &Endpoints, wire: &Wire) -> Result<Vec<u8>, GoogleError> {
    let start = Instant::now();
    let mut pause = wire.timing.pause;
    let mut listed = false;
    loop {
        let error = match get(path, endpoints, wire).await {
            Ok(answer) if answer.status.is_success() => {
                if answer.has_flavor {
                    return Ok(answer.body);
                }
                return Err(GoogleError::Answer {
                    service: SERVICE.to_owned(),
                    reason: "it does not say that it is Google's",
                });
            }
            Ok(answer) => {
                let error = answer.refusal(SERVICE, &[]);
                let said = error.to_string().contains("Gaia id not found");
                let status = answer.status.as_u16();
                let may_pass = status == 404 || status == 429 || answer.status.is_server_error();
                if said || !may_pass {
                    return Err(advice::of_metadata(error));
                }
                if status == 404 && !listed && has_no_account(endpoints, wire).await {
                    return Err(GoogleError::NoAccount {
                        tried: vec!["this machine has no service account".to_owned()],
                    });
                }
                listed = true;
                error
            }
            Err(error) => error,
        };
        if start.elapsed() + pause > wire.timing.readiness {
            return Err(advice::of_metadata(error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Whether the server is well and has no account to give: a machine can be made without.
async fn has_no_account(endpoints: &Endpoints, wire: &Wire) -> bool {
    match get(&format!("{ACCOUNTS}/"), endpoints, wire).await {
        Ok(answer) => {
            answer.status.is_success()
                && answer.has_flavor
                && !String::from_utf8_lossy(&answer.body).contains("default/")
        }
        Err(_) => false,
    }
}

async fn get(path: &str, endpoints: &Endpoints, wire: &Wire) -> Result<Answer, GoogleError> {
    let request = wire
        .direct()
        .await?
        .get(format!("{}{path}", base(endpoints)))
        .header("Metadata-Flavor", "Google");
    wire.once(SERVICE, request).await
}

fn base(endpoints: &Endpoints) -> &str {
    let base = endpoints.metadata.as_deref().unwrap_or(ADDRESS);
    base.trim_end_matches('/')
}
