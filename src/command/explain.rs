//! `kiln explain`: why a build did again what had been done before.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::{ExplainError, WhichBuild};

use super::print_product;
use crate::args::StoreOption;
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::render::explain;
use crate::settings::Settings;

/// How many builds a hint names.
const NAMED_MAX: usize = 5;

/// Say why the steps of a build were not found in the cache
///
/// The steps of the build are compared with those of the build before it: which file, argument,
/// base image or line was the first to be another one, what ran because of it, and how long that
/// took. The answer goes to stdout.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln explain\n  kiln explain --build 9f2c --format json")]
pub(crate) struct ExplainArguments {
    /// The last build, which is the one that is told of without any option
    #[arg(long, conflicts_with = "build")]
    last: bool,

    /// The build with this id, or that made the image with this digest; the beginning is enough
    #[arg(long, value_name = "ID")]
    build: Option<String>,

    /// How the answer is written
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    format: ExplainFormat,

    #[command(flatten)]
    store: StoreOption,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExplainFormat {
    /// For people
    Text,
    /// For programs, see docs/explain.md
    Json,
}

impl Command for ExplainArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        run(self, settings)
    }
}

/// Explains.
fn run(arguments: &ExplainArguments, settings: &Settings) -> Result<ExitCode, ProgramError> {
    let which = match (&arguments.build, arguments.last) {
        (Some(name), _) => WhichBuild::Named(name.clone()),
        (None, true | false) => WhichBuild::Last,
    };
    let store = ports::open_store(settings)?;
    let account = engine::explain(&store, &which).map_err(|error| {
        let headline = ProgramError::input(error.to_string());
        match error {
            ExplainError::NoBuild => headline.hint("`kiln build` remembers what it did"),
            ExplainError::Unknown { known, .. } => {
                let latest: Vec<String> = known.into_iter().take(NAMED_MAX).collect();
                headline.hint(format!("the latest are {}", latest.join(", ")))
            }
            ExplainError::Several { .. } => headline.hint("give more of its id"),
        }
    })?;
    print_product(&match arguments.format {
        ExplainFormat::Text => explain::account_text(&account),
        ExplainFormat::Json => explain::account_json(&account),
    })?;
    Ok(ExitCode::SUCCESS)
}
