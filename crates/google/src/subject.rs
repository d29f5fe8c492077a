//! Tokens of other identity providers: from a file, behind an address, of a program, in a variable,
//! and of the runner of GitHub Actions.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::Deserialize;

use crate::Secret;
use crate::advice::GITHUB_PERMISSION;
use crate::error::GoogleError;
use crate::file::{External, Format, Subject, read_file};
use crate::options::Ambient;
use crate::program;
use crate::wire::Wire;

/// How long a program may take that a file of credentials names, in milliseconds.
const PROGRAM_MILLIS: u64 = 30_000;
const PROGRAM_MILLIS_MAX: u64 = 120_000;
/// The longest token.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// What a program answers that a file of credentials names.
#[derive(Deserialize)]
struct Said {
    version: Option<u64>,
    #[serde(default)]
    success: bool,
    id_token: Option<String>,
    saml_response: Option<String>,
    expiration_time: Option<i64>,
    code: Option<String>,
    message: Option<String>,
}

/// The token of the other provider.
pub(crate) async fn token(
    external: &External,
    acts_as: Option<&str>,
    wire: &Wire,
    ambient: &Ambient,
) -> Result<Secret, GoogleError> {
    match &external.subject {
        Subject::File { path, format } => {
            let text = read_file(path)
                .map_err(|error| missing(format!("{}: {error}", path.display()), None))?;
            taken(&text, format, &path.display().to_string())
        }
        Subject::Url {
            url,
            headers,
            format,
        } => {
            let service = "the address in credential_source";
            let client = wire.client().await?;
            let secrets: Vec<&str> = headers.values().map(Secret::expose).collect();
            let answer = wire
                .ask(service, &secrets, || {
                    headers.iter().fold(client.get(url), |request, header| {
                        request.header(header.0, header.1.expose())
                    })
                })
                .await?;
            taken(&answer, format, service)
        }
        Subject::Executable {
            command,
            timeout_millis,
            output_file,
        } => {
            if !ambient.allow_executables {
                return Err(missing(
                    "the file of credentials names a program, which is not run".to_owned(),
                    Some(
                        "if you trust the file, set GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1"
                            .to_owned(),
                    ),
                ));
            }
            if let Some(path) = output_file
                && let Ok(text) = read_file(path)
                && let Some(token) = kept(&text)
            {
                return Ok(token);
            }
            let millis = timeout_millis.unwrap_or(PROGRAM_MILLIS);
            let time_max = Duration::from_millis(millis.min(PROGRAM_MILLIS_MAX));
            executable(command, external, acts_as, output_file.as_deref(), time_max).await
        }
        Subject::Variable { name, token } => {
            let token = token.as_ref().ok_or_else(|| {
                missing(
                    format!("the variable {name} is not set"),
                    Some(format!("let the job put its identity token into {name}")),
                )
            })?;
            taken(token.expose().as_bytes(), &Format::Text, name)
        }
        Subject::Github { audience } => github(audience, wire, ambient).await,
    }
}

/// A token for `audience` of the runner of GitHub Actions.
async fn github(audience: &str, wire: &Wire, ambient: &Ambient) -> Result<Secret, GoogleError> {
    #[derive(Deserialize)]
    struct Granted {
        value: String,
    }

    let Some(identity) = &ambient.github else {
        let (reason, advice) = if ambient.is_github {
            (
                "this job of GitHub Actions may not ask for one",
                GITHUB_PERMISSION,
            )
        } else {
            (
                "this is no job of GitHub Actions, and no other token was named",
                "name a token with --oidc-token-file or --oidc-token-env",
            )
        };
        return Err(missing(reason.to_owned(), Some(advice.to_owned())));
    };
    let service = "GitHub's identity service";
    let mut url = Url::parse(&identity.request_url)
        .map_err(|_| missing("ACTIONS_ID_TOKEN_REQUEST_URL is no URL".to_owned(), None))?;
    url.query_pairs_mut().append_pair("audience", audience);
    let client = wire.client().await?;
    let token = identity.request_token.expose();
    let answer = wire
        .ask(service, &[token], || {
            client.get(url.clone()).bearer_auth(token)
        })
        .await
        .map_err(|error| match error {
            GoogleError::Refused {
                service,
                status: status @ (401 | 403),
                code,
                description,
                advice: _,
            } => GoogleError::Refused {
                service,
                status,
                code,
                description,
                advice: Some(GITHUB_PERMISSION.to_owned()),
            },
            other => other,
        })?;
    // `count` beside it is not always there.
    let granted: Granted = serde_json::from_slice(&answer).map_err(|_| GoogleError::Answer {
        service: service.to_owned(),
        reason: "it holds no `value`",
    })?;
    taken(granted.value.as_bytes(), &Format::Text, service)
}

async fn executable(
    command: &str,
    external: &External,
    acts_as: Option<&str>,
    output_file: Option<&Path>,
    time_max: Duration,
) -> Result<Secret, GoogleError> {
    let mut words = command.split_whitespace().map(str::to_owned);
    let program = words.next().unwrap_or_default();
    let failed = |reason: String| GoogleError::Program {
        program: program.clone(),
        reason,
    };
    if !Path::new(&program).is_absolute() {
        return Err(failed("it is not given by its whole path".to_owned()));
    }
    let arguments: Vec<String> = words.collect();
    let mut variables: Vec<(&str, OsString)> = vec![
        (
            "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE",
            external.audience.clone().into(),
        ),
        (
            "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE",
            external.subject_token_type.clone().into(),
        ),
        ("GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE", "0".into()),
    ];
    if let Some(email) = acts_as {
        variables.push(("GOOGLE_EXTERNAL_ACCOUNT_IMPERSONATED_EMAIL", email.into()));
    }
    if let Some(path) = output_file {
        variables.push(("GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE", path.into()));
    }
    let output = program::run(Path::new(&program), &arguments, &variables, time_max)
        .await
        .map_err(failed)?;
    let said: Option<Said> = serde_json::from_slice(&output.stdout).ok();
    let Some(said) = said.filter(|said| said.version == Some(1)) else {
        return Err(failed(match output.complaint.as_str() {
            "" => "it did not print an answer of version 1".to_owned(),
            complaint => complaint.to_owned(),
        }));
    };
    if !said.success {
        let clean = |text: Option<String>| -> String {
            let text = text.unwrap_or_default();
            text.chars().filter(|c| !c.is_control()).take(200).collect()
        };
        return Err(failed(format!(
            "{} {}",
            clean(said.code),
            clean(said.message)
        )));
    }
    let token = said.id_token.or(said.saml_response);
    let token = token.ok_or_else(|| failed("its answer holds no token".to_owned()))?;
    taken(token.as_bytes(), &Format::Text, &program)
}

/// What a program left in its output file, as long as it is good.
fn kept(text: &[u8]) -> Option<Secret> {
    let said: Said = serde_json::from_slice(text).ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let is_good = said.expiration_time? > i64::try_from(now.as_secs()).ok()?;
    let token = said.id_token.or(said.saml_response)?;
    (said.success && is_good).then(|| Secret::new(token))
}

/// Takes a token out of what holds it.
fn taken(text: &[u8], format: &Format, place: &str) -> Result<Secret, GoogleError> {
    let token = match format {
        Format::Text => std::str::from_utf8(text)
            .ok()
            .map(|text| text.trim().to_owned()),
        Format::Json(field) => serde_json::from_slice::<serde_json::Value>(text)
            .ok()
            .and_then(|value| value.get(field)?.as_str().map(str::to_owned)),
    };
    let is_token = |token: &String| {
        !token.is_empty()
            && token.len() <= TOKEN_BYTES_MAX
            && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    token
        .filter(is_token)
        .map(Secret::new)
        .ok_or_else(|| missing(format!("{place} holds no token"), None))
}

fn missing(reason: String, advice: Option<String>) -> GoogleError {
    GoogleError::Subject { reason, advice }
}
