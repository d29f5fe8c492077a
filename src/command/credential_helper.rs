//! `docker-credential-kiln`: the same program as docker's credential helper, for registries of
//! Google's (docker's credential helper protocol). What goes wrong is said on stdout, as the protocol
//! has it.

use std::io::Read as _;
use std::process::ExitCode;

use clap::Args;
use registry::{Credential, CredentialProvider as _};
use serde_json::{Map, Value, json};

use super::print_product;
use super::registry_host::registry_host;
use crate::accounts::{self, TOKEN_USER};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// The most that is read, in bytes.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// These words are a part of the protocol: other programs compare them.
const NOT_FOUND: &str = "credentials not found in native keychain";
const NO_SERVER: &str = "no credentials server URL";
const NO_USER: &str = "no credentials username";

/// Answer docker's questions for accounts
///
/// Started under the name docker-credential-kiln, the program does this.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ln -s \"$(command -v kiln)\" ~/.local/bin/docker-credential-kiln\n  echo \
                        us-docker.pkg.dev | docker-credential-kiln get"
)]
pub(crate) struct CredentialHelperArguments {
    /// get, store, erase, list or version
    #[arg(value_name = "VERB")]
    verb: Option<String>,
}

/// Why there is no answer, in the protocol's words or our own.
struct Refusal(String);

impl Command for CredentialHelperArguments {
    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let answer = match self.verb.as_deref() {
            Some("get") => get(settings),
            Some("store") => store(),
            Some("erase") => server().map(|_| String::new()),
            Some("list") => Ok(list(settings)),
            Some("version") => Ok(format!(
                "docker-credential-kiln (kiln) {}\n",
                env!("CARGO_PKG_VERSION")
            )),
            Some(_) | None => Err(Refusal(
                "usage: docker-credential-kiln get|store|erase|list|version".to_owned(),
            )),
        };
        match answer {
            Ok(text) => {
                print_product(&text)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(Refusal(reason)) => {
                print_product(&format!("{reason}\n"))?;
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn get(settings: &Settings) -> Result<String, Refusal> {
    let server = server()?;
    let host = registry_host(&server).map_err(|_| Refusal(NOT_FOUND.to_owned()))?;
    let provider = accounts::provider(settings);
    if !provider.covers(&host) {
        return Err(Refusal(NOT_FOUND.to_owned()));
    }
    let found = ports::block_on(provider.find(&host, "", false))
        .map_err(|error| Refusal(error.headline))?
        .map_err(|error| {
            let advice = error.advice.as_ref();
            Refusal(match advice {
                Some(advice) => format!("{error} ({advice})"),
                None => error.to_string(),
            })
        })?;
    match found.map(|found| found.credential) {
        Some(Credential::Password { username, password }) => {
            let answer = json!({
                "ServerURL": server,
                "Username": username,
                "Secret": password.expose(),
            });
            Ok(format!("{answer}\n"))
        }
        Some(Credential::IdentityToken(_) | Credential::RegistryToken(_)) | None => {
            Err(Refusal(NOT_FOUND.to_owned()))
        }
    }
}

/// There is nothing to keep: tokens are made when they are asked for.
fn store() -> Result<String, Refusal> {
    let account: Value = serde_json::from_str(&input()?)
        .map_err(|_| Refusal("what is to be kept is not JSON".to_owned()))?;
    let is_filled = |key: &str| account[key].as_str().is_some_and(|text| !text.is_empty());
    if !is_filled("ServerURL") {
        return Err(Refusal(NO_SERVER.to_owned()));
    }
    if !is_filled("Username") {
        return Err(Refusal(NO_USER.to_owned()));
    }
    Ok(String::new())
}

fn list(settings: &Settings) -> String {
    let provider = accounts::provider(settings);
    let hosts = provider.hosts();
    let servers: Map<String, Value> = hosts
        .map(|host| (format!("https://{host}"), TOKEN_USER.into()))
        .collect();
    format!("{}\n", Value::Object(servers))
}

/// The server that is asked about.
fn server() -> Result<String, Refusal> {
    let server = input()?.trim().to_owned();
    match server.is_empty() {
        true => Err(Refusal(NO_SERVER.to_owned())),
        false => Ok(server),
    }
}

fn input() -> Result<String, Refusal> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text);
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Refusal(format!("stdin cannot be read: {error}"))),
    }
}
