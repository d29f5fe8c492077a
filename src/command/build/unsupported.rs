//! Flags of `docker buildx build` that kiln does not have yet. They are recognised so that the
//! answer is a sentence about kiln, and never ignored.

use std::collections::BTreeMap;

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
    cache_from: Vec<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    cache_to: Vec<Option<String>>,
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
            cache_from,
            cache_to,
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
            ("--cache-from", given(cache_from)),
            ("--cache-to", given(cache_to)),
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

/// An error for a build argument that asks for what kiln does not have yet.
pub(crate) fn refuse_arguments(arguments: &BTreeMap<String, String>) -> Result<(), ProgramError> {
    const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";

    match arguments.get(INLINE_CACHE).map(String::as_str) {
        None | Some("" | "0" | "false") => Ok(()),
        Some(_) => Err(ProgramError::input(format!(
            "{INLINE_CACHE} is not supported yet: kiln writes no cache into images"
        ))
        .hint("leave the argument out: the local cache is always on")),
    }
}
