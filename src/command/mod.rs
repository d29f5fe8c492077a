//! The verbs, one file each: its flags, its help, what it does.

mod amount;
mod auth;
mod build;
mod cache;
mod channel;
mod config;
mod copy;
mod credential_helper;
mod doctor;
mod emit;
mod explain;
mod image_places;
mod inspect;
mod lint;
mod load;
mod login;
mod logout;
mod pin;
mod publish_options;
mod pull;
mod push;
mod registry_host;
mod repo;
mod shelf_address;
mod sign;
mod store;
mod tag;
mod verify;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub(crate) use auth::AuthArguments;
pub(crate) use build::BuildArguments;
pub(crate) use cache::CacheArguments;
pub(crate) use channel::{ChannelArguments, TokenSource};
pub(crate) use config::ConfigArguments;
pub(crate) use copy::CopyArguments;
pub(crate) use credential_helper::CredentialHelperArguments;
pub(crate) use doctor::DoctorArguments;
pub(crate) use emit::EmitArguments;
pub(crate) use explain::ExplainArguments;
pub(crate) use inspect::InspectArguments;
pub(crate) use lint::LintArguments;
pub(crate) use load::LoadArguments;
pub(crate) use login::LoginArguments;
pub(crate) use logout::LogoutArguments;
pub(crate) use pin::PinArguments;
pub(crate) use pull::PullArguments;
pub(crate) use push::PushArguments;
pub(crate) use repo::RepoArguments;
pub(crate) use sign::SignArguments;
pub(crate) use store::StoreArguments;
pub(crate) use tag::TagArguments;
pub(crate) use verify::VerifyArguments;
pub(crate) use version::VersionArguments;

use crate::args::{GoogleOptions, ProgressMode, RegistryOptions, StoreOption};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// What all verbs have in common. A verb is its arguments, in its file.
pub(crate) trait Command {
    /// The options of the store, if it uses one.
    fn store(&self) -> Option<&StoreOption> {
        None
    }

    /// The options of the wire, if it uses it.
    fn registry(&self) -> Option<&RegistryOptions> {
        None
    }

    /// The options of our account at Google, if it may be used.
    fn google(&self) -> Option<&GoogleOptions> {
        self.registry().map(|options| &options.google)
    }

    /// How progress is to be shown, if it takes long.
    fn progress(&self) -> ProgressMode {
        ProgressMode::Plain
    }

    /// Does what was asked.
    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError>;
}

/// Writes what was asked for to stdout. A reader that has gone away got all that it wanted.
fn print_product(text: &str) -> Result<(), ProgramError> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ProgramError::failed("could not write to stdout").because(&error))
        }
        _ => Ok(()),
    }
}

/// Runs this command again as root of a user namespace, where an ordinary user can mount, give
/// files to several owners, and remove them again. Nothing when that is not needed.
///
/// Must be called while the program has one thread.
fn enter_user_namespace(invocation: &[OsString]) -> Result<Option<ExitCode>, sandbox::EnterError> {
    if rustix::process::geteuid().is_root() || sandbox::inside_user_namespace() {
        return Ok(None);
    }
    let ending = sandbox::enter_user_namespace(invocation)?;
    // As a shell counts: 128 and the number of the signal.
    let code = match ending {
        sandbox::Ending::Code(code) => code,
        sandbox::Ending::Signal(signal) => 128 + signal,
    };
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))))
}
