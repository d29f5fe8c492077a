//! Asks somebody at the terminal; never when there is none.

use std::io::{BufRead as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::ProgramError;
use crate::render::Presentation;

/// The longest answer, in bytes; the key of an account is one.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks for a line.
pub(crate) fn line(presentation: Presentation, question: &str) -> Result<String, ProgramError> {
    presentation.print(&format!("{question}: "));
    read_line()
}

/// Asks for a line that is not to be seen.
pub(crate) fn hidden_line(
    presentation: Presentation,
    question: &str,
) -> Result<String, ProgramError> {
    presentation.print(&format!("{question}: "));
    let silence = Silence::begin();
    let answer = read_line();
    drop(silence);
    presentation.print("\n");
    answer
}

/// All of stdin, without the end of its last line.
pub(crate) fn stdin() -> Result<String, ProgramError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| ProgramError::input("could not read stdin").because(&error))?;
    if text.len() as u64 > ANSWER_BYTES_MAX {
        return Err(ProgramError::input(format!(
            "stdin has more than {ANSWER_BYTES_MAX} bytes, which no password has"
        )));
    }
    Ok(without_end(text))
}

fn read_line() -> Result<String, ProgramError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut text)
        .map_err(|error| ProgramError::input("could not read the answer").because(&error))?;
    Ok(without_end(text))
}

fn without_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Option<Termios>);

impl Silence {
    fn begin() -> Self {
        let Ok(before) = tcgetattr(std::io::stdin()) else {
            return Self(None);
        };
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // A terminal that cannot be silenced shows what is typed; that is no reason not to go on.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent);
        Self(Some(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}
