//! Flags of `docker buildx build` that kiln does not have yet. They are recognised so that the
//! answer is a sentence about kiln, and never ignored.

use clap::Args;

use crate::error::ProgramError;

/// The flags. None is in the help.
#[derive(Args, Debug)]
pub(crate) struct UnsupportedFlags {
    #[arg(long, hide = true, num_args = 0..=1)]
    attest: Vec<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    builder: Vec<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    provenance: Vec<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    sbom: Vec<Option<String>>,
}

impl UnsupportedFlags {
    /// An error that names the first of them that was given.
    ///
    /// `--provenance=false` and `--sbom=false` ask for what kiln does.
    pub(crate) fn refuse(&self) -> Result<(), ProgramError> {
        let Self {
            attest,
            builder,
            provenance,
            sbom,
        } = self;
        let given = |values: &[Option<String>]| !values.is_empty();
        let wanted = |values: &[Option<String>]| {
            let mut values = values.iter();
            values.any(|value| !matches!(value.as_deref(), Some("false" | "0")))
        };
        let flags = [
            ("--attest", given(attest)),
            ("--builder", given(builder)),
            ("--provenance", wanted(provenance)),
            ("--sbom", wanted(sbom)),
        ];
        match flags.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(ProgramError::input(format!(
                "{flag} is not supported yet: kiln knows the flag of docker buildx, but cannot do \
                 what it asks for"
            ))),
        }
    }
}
