//! The program that the tests start: a minimal caller of the sandbox, since the sandbox's own
//! processes are the calling program under other names, and a test harness cannot be one.
//!
//! `run` reads a process as JSON from standard input, runs it, and prints an outcome as JSON;
//! `in-user-namespace …` does the rest of the line inside of one; `probe` says what works;
//! `calls` makes system calls and prints how they were answered, inside a sandbox.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sandbox::{CancelToken, Ending, Process, Requested, Stream};

fn main() -> ExitCode {
    sandbox::child_main_if_requested();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().expect("UTF-8"))
        .collect();
    match words.as_slice() {
        ["in-user-namespace", ..] if !sandbox::inside_user_namespace() => {
            match sandbox::enter_user_namespace(&arguments) {
                Ok(Ending::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
                Ok(Ending::Signal(signal)) => {
                    ExitCode::from(u8::try_from(128 + signal).unwrap_or(255))
                }
                Err(error) => {
                    println!("{}", explain(&error));
                    ExitCode::FAILURE
                }
            }
        }
        ["in-user-namespace", rest @ ..] => act(rest),
        rest => act(rest),
    }
}

fn act(words: &[&str]) -> ExitCode {
    match words {
        ["run"] => println!("{}", run(None)),
        ["run", "cancel-at", marker] => println!("{}", run(Some(marker))),
        ["time", times] => time(times.parse().expect("a number")),
        ["probe", requested, directory] => {
            let requested = match *requested {
                "root" => Requested::Root,
                "user-namespace" => Requested::UserNamespace,
                _ => Requested::Auto,
            };
            match sandbox::probe(requested, Path::new(directory)) {
                Ok(rung) => println!("{rung}"),
                Err(error) => println!("{}", explain(&error)),
            }
        }
        ["exit", code] => return ExitCode::from(code.parse::<u8>().expect("a code")),
        ["calls"] => calls::make_all(),
        _ => {
            eprintln!("unknown: {words:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Runs the process described on standard input; with a marker, cancels once that was written.
fn run(cancel_at: Option<&str>) -> String {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .expect("a description");
    let process: Process = serde_json::from_str(&text).expect("a process");
    let cancel = CancelToken::new().expect("a token");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let result = sandbox::run(&process, &cancel, &mut |stream, bytes| {
        let to = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        to.extend_from_slice(bytes);
        if let Some(marker) = cancel_at
            && stdout
                .windows(marker.len())
                .any(|part| part == marker.as_bytes())
        {
            cancel.cancel();
        }
    });
    let outcome = match result {
        Ok(exit) => match exit.ending {
            Ending::Code(code) => format!("code {code}"),
            Ending::Signal(signal) => format!("signal {signal}"),
        },
        Err(error) => format!("error: {}", explain(&error)),
    };
    serde_json::json!({
        "outcome": outcome,
        "stdout": String::from_utf8_lossy(&stdout),
        "stderr": String::from_utf8_lossy(&stderr),
    })
    .to_string()
}

/// Measures, for a person to look at.
fn time(times: u32) {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .expect("a description");
    let process: Process = serde_json::from_str(&text).expect("a process");
    let cancel = CancelToken::new().expect("a token");
    let started = Instant::now();
    for _ in 0..times {
        let exit = sandbox::run(&process, &cancel, &mut |_, _| {}).expect("it runs");
        assert_eq!(exit.ending, Ending::Code(0));
    }
    let each: Duration = started.elapsed() / times;
    println!("{times} runs, {each:?} each");
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
