//! kiln: words in, words out. Reads arguments and environment, hands one verb to the crates that
//! do it, shows what happens, and chooses the exit code.

mod accounts;
mod args;
mod command;
mod error;
mod interrupt;
mod ports;
mod project;
mod prompt;
mod render;
mod settings;
mod signing;
mod sources;
mod verification;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A sandbox starts this program again as a part of itself; it must do nothing else then.
    sandbox::child_main_if_requested();
    error::explain_panics();
    let arguments = args::Arguments::parse_from(args::of_process());
    let environment = settings::Environment::of_process();
    let presentation = settings::presentation(&arguments, &environment);
    let settings = settings::Settings::new(&arguments, environment);
    let outcome = arguments.verb.command().run(&settings, presentation);
    error::conclude(outcome, presentation)
}
