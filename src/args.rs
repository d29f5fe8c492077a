//! The command line: which verbs there are, and the flags that several of them share. The flags of
//! one verb are in its file under `command/`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command::{
    AuthArguments, BuildArguments, CacheArguments, ChannelArguments, Command, ConfigArguments,
    CopyArguments, CredentialHelperArguments, DoctorArguments, EmitArguments, ExplainArguments,
    InspectArguments, LintArguments, LoadArguments, LoginArguments, LogoutArguments, PinArguments,
    PullArguments, PushArguments, RepoArguments, SignArguments, StoreArguments, TagArguments,
    VerifyArguments, VersionArguments,
};
use crate::error::ProgramError;

/// Builds, tags and pushes OCI images from Dockerfiles: one binary, no daemon, no privileges.
#[derive(Debug, Parser)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

// The help of a verb is the comment of its arguments, in its file.
/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Auth(AuthArguments),
    Build(Box<BuildArguments>),
    Cache(CacheArguments),
    Channel(Box<ChannelArguments>),
    Config(ConfigArguments),
    Copy(Box<CopyArguments>),
    Doctor(Box<DoctorArguments>),
    Emit(EmitArguments),
    Explain(ExplainArguments),
    Inspect(InspectArguments),
    Lint(LintArguments),
    Load(LoadArguments),
    Login(LoginArguments),
    Logout(LogoutArguments),
    Pin(PinArguments),
    Pull(PullArguments),
    Push(PushArguments),
    Repo(RepoArguments),
    Sign(SignArguments),
    Store(StoreArguments),
    Tag(TagArguments),
    Verify(VerifyArguments),
    Version(VersionArguments),
    #[command(hide = true)]
    CredentialHelper(CredentialHelperArguments),
}

/// The name under which docker starts this program for an account.
const HELPER: &str = "docker-credential-kiln";

/// The words of this process; started as a credential helper, it is one.
pub(crate) fn of_process() -> Vec<OsString> {
    as_helper(std::env::args_os().collect())
}

fn as_helper(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(HELPER)) {
        words.insert(1, "credential-helper".into());
    }
    words
}

impl Verb {
    /// The verb, whichever it is.
    pub(crate) fn command(&self) -> &dyn Command {
        match self {
            Self::Auth(auth) => auth,
            Self::Build(build) => &**build,
            Self::Cache(cache) => cache,
            Self::Channel(channel) => &**channel,
            Self::Config(config) => config,
            Self::Copy(copy) => &**copy,
            Self::Doctor(doctor) => &**doctor,
            Self::Emit(emit) => emit,
            Self::Explain(explain) => explain,
            Self::Inspect(inspect) => inspect,
            Self::Lint(lint) => lint,
            Self::Load(load) => load,
            Self::Pin(pin) => pin,
            Self::Pull(pull) => pull,
            Self::CredentialHelper(helper) => helper,
            Self::Login(login) => login,
            Self::Logout(logout) => logout,
            Self::Push(push) => push,
            Self::Repo(repo) => repo,
            Self::Sign(sign) => sign,
            Self::Store(store) => store,
            Self::Tag(tag) => tag,
            Self::Verify(verify) => verify,
            Self::Version(version) => version,
        }
    }
}

/// Where the store is.
#[derive(Args, Debug)]
pub(crate) struct StoreOption {
    /// Directory of everything that kiln keeps [default: KILN_STORE, or kiln in the cache
    /// directory of the user]
    #[arg(long = "store", value_name = "DIR", global = true)]
    pub(crate) directory: Option<PathBuf>,
}

/// How registries are talked to.
#[derive(Args, Debug)]
pub(crate) struct RegistryOptions {
    /// Mirrors and settings of registries, see containers-registries.conf(5)
    /// [default: CONTAINERS_REGISTRIES_CONF, or the user's or the system's file]
    #[arg(long, value_name = "FILE")]
    pub(crate) registries_conf: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) google: GoogleOptions,
}

/// Who we are at Google, where no file and no machine says it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Google")]
pub(crate) struct GoogleOptions {
    /// Provider that vouches for this job, by its whole path, with the number of the project [default:
    /// KILN_GCP_WORKLOAD_IDENTITY_PROVIDER, or kiln.yaml]
    #[arg(
        long = "gcp-workload-identity-provider",
        value_name = "PROVIDER",
        hide_short_help = true
    )]
    pub(crate) workload_identity_provider: Option<String>,

    /// Account to act as [default: KILN_GCP_SERVICE_ACCOUNT, or kiln.yaml]
    #[arg(
        long = "gcp-service-account",
        value_name = "EMAIL",
        hide_short_help = true
    )]
    pub(crate) service_account: Option<String>,

    /// Identity token of this job, in a file [default: KILN_OIDC_TOKEN_FILE, or what GitHub Actions
    /// gives]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) oidc_token_file: Option<PathBuf>,

    /// Variable that holds the identity token of this job
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "oidc_token_file",
        hide_short_help = true
    )]
    pub(crate) oidc_token_env: Option<String>,
}

/// Which project, and what counts before what it says.
#[derive(Args, Debug)]
pub(crate) struct ProjectOptions {
    /// The declaration of the project [default: kiln.yaml here, or above as far as the repository]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where images are sent [default: KILN_REGISTRY, or what the files say]
    #[arg(long, value_name = "HOST[/PATH]")]
    pub(crate) registry: Option<String>,

    /// Path below the registry [default: KILN_PREFIX, or what the files say]
    #[arg(long, value_name = "PATH")]
    pub(crate) prefix: Option<String>,
}

/// How progress is shown.
#[derive(Args, Debug)]
pub(crate) struct ProgressOptions {
    /// How progress is shown on stderr
    #[arg(long, value_enum, value_name = "TYPE", default_value = "auto")]
    progress: ProgressMode,

    /// Show nothing but errors, and the digest
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true,
          value_name = "BOOL", action = clap::ArgAction::Set)]
    quiet: bool,
}

impl ProgressOptions {
    /// `--quiet` is `--progress quiet`.
    pub(crate) fn mode(&self) -> ProgressMode {
        if self.quiet {
            ProgressMode::Quiet
        } else {
            self.progress
        }
    }

    /// Refuses `--quiet` beside another `--progress`.
    pub(crate) fn check(&self) -> Result<(), ProgramError> {
        match self.contradicts_itself() {
            true => Err(ProgramError::input(
                "--quiet and --progress contradict each other",
            )),
            false => Ok(()),
        }
    }

    /// Whether `--quiet` contradicts `--progress`.
    pub(crate) fn contradicts_itself(&self) -> bool {
        self.quiet && !matches!(self.progress, ProgressMode::Auto | ProgressMode::Quiet)
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A live view on a terminal, lines elsewhere
    Auto,
    /// A live view, wherever stderr goes
    Tty,
    /// Lines of text
    Plain,
    /// Lines of JSON, see docs/progress.md
    Json,
    /// Nothing but errors
    Quiet,
}

/// How an answer is written, for verbs that inform.
#[derive(Args, Debug)]
pub(crate) struct FormatOption {
    /// How the answer is written to stdout
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    pub(crate) format: Format,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs; the page of the verb in docs/ has the schema
    Json,
}
