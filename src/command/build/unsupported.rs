//! Flags of `docker buildx build` that mean nothing in kiln. They are recognised so that the answer
//! is a sentence about kiln, and never ignored.

use clap::Args;

use crate::error::ProgramError;

/// The flags. None is in the help.
#[derive(Args, Debug)]
pub(crate) struct UnsupportedFlags {
    #[arg(long, hide = true, num_args = 0..=1)]
    builder: Vec<Option<String>>,
}

impl UnsupportedFlags {
    /// An error when one of them was given.
    pub(crate) fn refuse(&self) -> Result<(), ProgramError> {
        let Self { builder } = self;
        match builder.is_empty() {
            true => Ok(()),
            false => Err(ProgramError::input(
                "--builder: kiln has no builders to choose from, it builds in its own process",
            )
            .hint("leave it away")),
        }
    }
}
