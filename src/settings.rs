//! Flags and environment together, with every default applied. The only file that reads the
//! environment; everything below it takes what it needs as a parameter.

mod google;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use registry::{CredentialSources, ProxySettings, Secret, SettingsSources, TrustSettings};

pub(crate) use self::google::{DeclaredAccount, GoogleSettings};
use crate::args::{Arguments, ProgressMode};
use crate::command::TokenSource;
use crate::error::ProgramError;
use crate::render::{Presentation, Shape, TerminalSize};

/// The variables of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A directory of the XDG base directory specification: relative paths count as unset, and
    /// the default is below the home directory.
    fn base_directory(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        self.path(name)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(self.path("HOME")?.join(below_home)))
    }
}

/// Everything that is ambient, found once.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The arguments of this process, without its name.
    pub(crate) invocation: Vec<OsString>,
    /// Mirrors and certificates.
    pub(crate) registries: SettingsSources,
    /// A file of registry settings that was asked for by name and must be there.
    pub(crate) registries_conf_wanted: Option<PathBuf>,
    /// Who we are at registries.
    pub(crate) credentials: CredentialSources,
    /// Who we are at Google.
    pub(crate) google: GoogleSettings,
    /// Roots of trust.
    pub(crate) trust: TrustSettings,
    /// Proxies.
    pub(crate) proxies: ProxySettings,
    /// The agent that has the user's keys for ssh.
    pub(crate) ssh_agent: Option<OsString>,
    /// The user's known hosts and keys for ssh.
    pub(crate) ssh_directory: Option<PathBuf>,
    /// Processors that this process may use: affinity and the quota of its control group count.
    pub(crate) processors: usize,
    /// Where programs are looked for.
    pub(crate) program_path: OsString,
    /// Whether stdout is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// Whether stdin is a terminal, and somebody can be asked.
    pub(crate) stdin_is_terminal: bool,
    store: Option<PathBuf>,
    declared: Arc<OnceLock<DeclaredAccount>>,
    environment: Environment,
}

impl Settings {
    /// Puts flags and environment together.
    pub(crate) fn new(arguments: &Arguments, environment: Environment) -> Self {
        let wanted = arguments
            .verb
            .command()
            .registry()
            .and_then(|options| options.registries_conf.clone())
            .or_else(|| environment.path("CONTAINERS_REGISTRIES_CONF"));
        let store = arguments
            .verb
            .command()
            .store()
            .and_then(|option| option.directory.clone())
            .or_else(|| environment.path("KILN_STORE"))
            .or_else(|| {
                Some(
                    environment
                        .base_directory("XDG_CACHE_HOME", ".cache")?
                        .join("kiln"),
                )
            });
        Self {
            invocation: std::env::args_os().skip(1).collect(),
            registries: registries(&environment, wanted.as_deref()),
            registries_conf_wanted: wanted,
            credentials: credentials(&environment),
            google: GoogleSettings::new(&environment, arguments.verb.command().google()),
            trust: trust(&environment),
            proxies: proxies(&environment),
            ssh_directory: environment.path("HOME").map(|home| home.join(".ssh")),
            ssh_agent: environment.get("SSH_AUTH_SOCK").map(OsStr::to_owned),
            program_path: environment.get("PATH").unwrap_or_default().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            store,
            declared: Arc::default(),
            environment,
        }
    }

    /// Notes what the project's file says of our account at Google, once it has been read. Clients
    /// that are made from now on know it.
    pub(crate) fn declare_google(&self, account: &project::GoogleAccount) {
        // There is one project; the first word counts.
        let _ = self.declared.set(DeclaredAccount::from(account));
    }

    /// What the project's file says of our account at Google.
    pub(crate) fn declared_google(&self) -> Option<&DeclaredAccount> {
        self.declared.get()
    }

    /// The directory of the store.
    pub(crate) fn store(&self) -> Result<&Path, ProgramError> {
        self.store.as_deref().ok_or_else(|| {
            ProgramError::input("there is no directory for the store: HOME is not set")
                .hint("name one with --store or KILN_STORE")
        })
    }

    /// Where the user's own settings of git are.
    pub(crate) fn user_git(&self) -> fetch::UserGit {
        fetch::UserGit {
            home: self.environment.path("HOME"),
            config_home: self.environment.path("XDG_CONFIG_HOME"),
        }
    }

    /// The value for a `--build-arg` that is given by name only. Values that are not UTF-8 have no
    /// form in an image.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.0.get(OsStr::new(name))?;
        value.to_str().map(str::to_owned)
    }

    /// The bytes of a variable, for a secret.
    pub(crate) fn variable_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let value = self.environment.0.get(OsStr::new(name))?;
        Some(value.as_bytes().to_vec())
    }

    /// Where the user's SSH agent listens.
    pub(crate) fn ssh_auth_sock(&self) -> Option<&Path> {
        self.environment.get("SSH_AUTH_SOCK").map(Path::new)
    }

    /// Where the CI system that this runs in gives out identity tokens.
    pub(crate) fn identity_token_source(&self) -> Option<TokenSource> {
        if let Some(token) = self.environment.text("KILN_ID_TOKEN") {
            return Some(TokenSource::Given(Secret::new(token)));
        }
        let url = self.environment.text("ACTIONS_ID_TOKEN_REQUEST_URL")?;
        let secret = self.environment.text("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?;
        Some(TokenSource::Request {
            url,
            secret: Secret::new(secret),
        })
    }

    /// What the user is called on this machine, where the environment says it.
    pub(crate) fn account(&self) -> Option<String> {
        let names = ["LOGNAME", "USER"];
        names.iter().find_map(|name| self.environment.text(name))
    }

    /// The time that the build is to claim, as it is written.
    pub(crate) fn source_date_epoch(&self) -> Option<String> {
        self.environment.text("SOURCE_DATE_EPOCH")
    }
}

/// How everything is shown.
pub(crate) fn presentation(arguments: &Arguments, environment: &Environment) -> Presentation {
    let stderr_is_terminal = std::io::stderr().is_terminal();
    let term = environment.text("TERM");
    let understands_sequences =
        stderr_is_terminal && term.as_deref().is_some_and(|term| term != "dumb");
    let forced = environment
        .get("CLICOLOR_FORCE")
        .is_some_and(|value| value != "0");
    let forbidden = environment.get("NO_COLOR").is_some()
        || environment
            .get("CLICOLOR")
            .is_some_and(|value| value == "0");
    let shape = match arguments.verb.command().progress() {
        ProgressMode::Tty => Shape::Tty,
        ProgressMode::Plain => Shape::Plain,
        ProgressMode::Json => Shape::Json,
        ProgressMode::Quiet => Shape::Quiet,
        ProgressMode::Auto => {
            let fits = || TerminalSize::of_stderr().is_some_and(TerminalSize::is_enough);
            if understands_sequences && fits() {
                Shape::Tty
            } else {
                Shape::Plain
            }
        }
    };
    Presentation {
        shape,
        colour: forced || (understands_sequences && !forbidden),
    }
}

/// Files of containers-registries.conf(5) and containers-certs.d(5). A file that is named replaces
/// all others.
fn registries(environment: &Environment, wanted: Option<&Path>) -> SettingsSources {
    let user = environment
        .base_directory("XDG_CONFIG_HOME", ".config")
        .map(|directory| directory.join("containers"));
    let system = Path::new("/etc/containers");
    let first_that_exists = |name: &str| {
        let candidates = user.iter().map(PathBuf::as_path).chain([system]);
        let mut paths = candidates.map(|directory| directory.join(name));
        paths.find(|path| path.exists())
    };
    let certificate_directories = user
        .iter()
        .map(|user| user.join("certs.d"))
        .chain([system.join("certs.d"), PathBuf::from("/etc/docker/certs.d")])
        .collect();
    let (registries_conf, registries_conf_directory) = match wanted {
        Some(wanted) => (Some(wanted.to_owned()), None),
        None => (
            first_that_exists("registries.conf"),
            first_that_exists("registries.conf.d"),
        ),
    };
    SettingsSources {
        registries_conf,
        registries_conf_directory,
        certificate_directories,
    }
}

/// docker's configuration first, then podman's. A place that the environment names replaces those
/// that nobody named.
fn credentials(environment: &Environment) -> CredentialSources {
    let docker = environment.path("DOCKER_CONFIG");
    let auth_file = environment.path("REGISTRY_AUTH_FILE");
    let docker_config = match (&docker, &auth_file) {
        (Some(directory), _) => Some(directory.join("config.json")),
        (None, Some(_)) => None,
        (None, None) => environment
            .path("HOME")
            .map(|home| home.join(".docker/config.json")),
    };
    let auth_files = match (&auth_file, &docker) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(_)) => Vec::new(),
        (None, None) => {
            let runtime = environment.path("XDG_RUNTIME_DIR");
            let config = environment.base_directory("XDG_CONFIG_HOME", ".config");
            let directories = runtime.into_iter().chain(config);
            directories
                .map(|directory| directory.join("containers/auth.json"))
                .collect()
        }
    };
    CredentialSources {
        docker_auth_config: environment.text("DOCKER_AUTH_CONFIG"),
        docker_config,
        auth_files,
        search_path: environment.get("PATH").map(OsStr::to_owned),
        helper_environment: None,
    }
}

/// Where distributions keep the certificates that they trust.
fn trust(environment: &Environment) -> TrustSettings {
    let bundles = match environment.path("SSL_CERT_FILE") {
        Some(named) => vec![named],
        None => [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/cert.pem",
        ]
        .map(PathBuf::from)
        .to_vec(),
    };
    TrustSettings { bundles }
}

/// The lower-case names win, as in curl.
fn proxies(environment: &Environment) -> ProxySettings {
    let either = |lower: &str, upper: &str| {
        let value = environment.text(lower);
        value.or_else(|| environment.text(upper))
    };
    let all = either("all_proxy", "ALL_PROXY");
    ProxySettings {
        http: either("http_proxy", "HTTP_PROXY").or_else(|| all.clone()),
        https: either("https_proxy", "HTTPS_PROXY").or(all),
        no_proxy: either("no_proxy", "NO_PROXY"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn settings(arguments: &[&str], variables: &[(&str, &str)]) -> Settings {
        let arguments = Arguments::parse_from([&["kiln"], arguments].concat());
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Settings::new(&arguments, Environment(variables.collect()))
    }

    #[test]
    fn the_store_is_where_the_nearest_word_says() {
        let check = |arguments: &[&str], variables: &[(&str, &str)], expected: Option<&str>| {
            let settings = settings(arguments, variables);
            assert_eq!(settings.store().ok(), expected.map(Path::new));
        };
        let home = ("HOME", "/home/u");
        let cache = ("XDG_CACHE_HOME", "/cache");
        let variable = ("KILN_STORE", "/variable");
        check(
            &["build", "--store", "/flag"],
            &[home, cache, variable],
            Some("/flag"),
        );
        check(&["build"], &[home, cache, variable], Some("/variable"));
        check(&["build"], &[home, cache], Some("/cache/kiln"));
        check(
            &["build"],
            &[home, ("XDG_CACHE_HOME", "relative")],
            Some("/home/u/.cache/kiln"),
        );
        check(
            &["build"],
            &[home, ("KILN_STORE", "")],
            Some("/home/u/.cache/kiln"),
        );
        check(&["build"], &[], None);
    }

    #[test]
    fn credentials_that_are_named_replace_the_others() {
        let check = |variables: &[(&str, &str)], docker: Option<&str>, files: &[&str]| {
            let found = settings(&["build"], variables).credentials;
            assert_eq!(found.docker_config.as_deref(), docker.map(Path::new));
            let expected: Vec<&Path> = files.iter().map(Path::new).collect();
            assert_eq!(found.auth_files, expected);
        };
        let home = ("HOME", "/home/u");
        let defaults = [
            "/run/u/containers/auth.json",
            "/home/u/.config/containers/auth.json",
        ];
        let runtime = ("XDG_RUNTIME_DIR", "/run/u");
        check(
            &[home, runtime],
            Some("/home/u/.docker/config.json"),
            &defaults,
        );
        check(
            &[home, ("DOCKER_CONFIG", "/d")],
            Some("/d/config.json"),
            &[],
        );
        check(
            &[home, ("REGISTRY_AUTH_FILE", "/a.json")],
            None,
            &["/a.json"],
        );
    }

    #[test]
    fn a_named_registries_file_replaces_the_others() {
        let found = settings(
            &["build", "--registries-conf", "/flag"],
            &[("CONTAINERS_REGISTRIES_CONF", "/variable")],
        );
        assert_eq!(
            found.registries.registries_conf.as_deref(),
            Some(Path::new("/flag"))
        );
        assert_eq!(found.registries.registries_conf_directory, None);
    }

    #[test]
    fn proxies_have_two_spellings() {
        let found = settings(
            &["build"],
            &[
                ("HTTPS_PROXY", "http://u"),
                ("https_proxy", "http://l"),
                ("NO_PROXY", "x"),
            ],
        );
        assert_eq!(found.proxies.https.as_deref(), Some("http://l"));
        assert_eq!(found.proxies.http, None);
        assert_eq!(found.proxies.no_proxy.as_deref(), Some("x"));
    }
}
