//! The verbs, one file each: its flags, its help, what it does.

mod amount;
mod build;
mod cache;
mod explain;
mod lint;
mod push;
mod shelf_address;
mod store;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub(crate) use build::BuildArguments;
pub(crate) use cache::CacheArguments;
pub(crate) use explain::ExplainArguments;
pub(crate) use lint::LintArguments;
pub(crate) use push::PushArguments;
pub(crate) use store::StoreArguments;

use crate::args::{Arguments, Verb};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Does what was asked.
pub(crate) fn run(
    arguments: Arguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    match arguments.verb {
        Verb::Build(arguments) => build::run(&arguments, settings, presentation),
        Verb::Cache(arguments) => cache::run(&arguments, settings, presentation),
        Verb::Explain(arguments) => explain::run(&arguments, settings),
        Verb::Lint(arguments) => lint::run(&arguments, settings, presentation),
        Verb::Push(arguments) => push::run(&arguments, settings, presentation),
        Verb::Store(arguments) => store::run(&arguments, settings, presentation),
        Verb::Version => {
            print_product(concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
