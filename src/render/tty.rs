//! The live view on a terminal: what is done scrolls up, what runs stands below it and is drawn
//! anew ten times a second.
//!
//! The terminal is never left in another state than it was found in: there is no raw mode, the
//! cursor stays visible, and automatic wrapping is off only inside a single write. A process that
//! is killed leaves at most a few stale lines.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use engine::{Direction, Event, StepNumber, StepOutcome};

use super::text::{Colours, Lines, neutralise, neutralise_lines, title};
use super::{Renderer, TerminalSize, units};

/// Lines of a running step's output that are shown while it is alone.
const TAIL_LINES_MAX: usize = 5;

/// Transfers that are shown at once.
const TRANSFERS_MAX: usize = 4;

/// How wide the column of times and words is.
const FIRST_COLUMN: usize = 9;

/// The size that is assumed when a terminal that is forced has none.
const SIZE_ASSUMED: TerminalSize = TerminalSize {
    columns: 80,
    rows: 24,
};

/// The live view.
pub(crate) struct Tty<Size> {
    size: Size,
    colour: bool,
    /// Lines of the view that are on the screen below everything that scrolled.
    drawn_lines: usize,
    steps: usize,
    finished: usize,
    cached: usize,
    running: BTreeMap<StepNumber, Running>,
    transfers: BTreeMap<String, Transfer>,
    down_bytes: u64,
    up_bytes: u64,
}

struct Running {
    title: String,
    since: Duration,
    lines: Lines,
    tail: VecDeque<String>,
}

struct Transfer {
    direction: Direction,
    done_bytes: u64,
    total_bytes: u64,
}

impl<Size: Fn() -> Option<TerminalSize> + Send> Tty<Size> {
    /// A view for a terminal whose size can be asked for.
    pub(crate) fn new(size: Size, colour: bool) -> Self {
        Self {
            size,
            colour,
            drawn_lines: 0,
            steps: 0,
            finished: 0,
            cached: 0,
            running: BTreeMap::new(),
            transfers: BTreeMap::new(),
            down_bytes: 0,
            up_bytes: 0,
        }
    }
}

impl<Size: Fn() -> Option<TerminalSize> + Send> Renderer for Tty<Size> {
    fn event(&mut self, at: Duration, event: &Event, out: &mut String) {
        let Some(line) = self.take(at, event) else {
            return;
        };
        self.erase(out);
        out.push_str(&line);
        out.push('\n');
        self.draw(at, out);
    }

    fn tick(&mut self, at: Duration, out: &mut String) {
        self.erase(out);
        self.draw(at, out);
    }

    fn close(&mut self, _: Duration, out: &mut String) {
        self.erase(out);
    }
}

impl<Size: Fn() -> Option<TerminalSize> + Send> Tty<Size> {
    /// Remembers an event. Returns the line that scrolls up, when there is one.
    fn take(&mut self, at: Duration, event: &Event) -> Option<String> {
        match event {
            Event::Resolved { .. } => None,
            Event::Planned { steps } => {
                self.steps = *steps;
                None
            }
            Event::StepStarted { step, title: text } => {
                let running = Running {
                    title: title(text),
                    since: at,
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                };
                self.running.insert(*step, running);
                None
            }
            Event::StepOutput { step, bytes } => {
                self.running.get_mut(step)?.output(bytes, self.colour);
                None
            }
            Event::StepFinished {
                step,
                title: text,
                outcome,
                duration,
                cache: _,
            } => {
                self.running.remove(step);
                self.finished += 1;
                let text = title(text);
                Some(match outcome {
                    StepOutcome::Cached => {
                        self.cached += 1;
                        self.row("cached", "36", &text)
                    }
                    StepOutcome::Ran => self.row(&units::duration(*duration), "32", &text),
                    StepOutcome::Failed => self.row("failed", "1;31", &text),
                    StepOutcome::Cancelled => self.row("stopped", "33", &text),
                })
            }
            Event::Transfer {
                what,
                direction,
                done_bytes,
                total_bytes,
            } => {
                self.transfer(what, *direction, *done_bytes, *total_bytes);
                None
            }
            Event::Published {
                reference,
                unchanged,
                ..
            } => {
                let word = if *unchanged { "unchanged" } else { "pushed" };
                Some(self.row(word, "32", &reference.to_string()))
            }
            Event::Warning { message } => {
                Some(self.row("warning", "1;33", &neutralise_lines(message)))
            }
            Event::Finding { .. } => {
                super::text::finding(event).map(|finding| self.row("warning", "1;33", &finding))
            }
            Event::Note { message } => Some(self.row("", "0", &neutralise_lines(message))),
        }
    }

    fn transfer(&mut self, what: &str, direction: Direction, done_bytes: u64, total_bytes: u64) {
        let (verb, sum) = match direction {
            Direction::Down => ("pull", &mut self.down_bytes),
            Direction::Up => ("push", &mut self.up_bytes),
        };
        let key = format!("{verb} {}", title(what));
        let before = self.transfers.get(&key).map_or(0, |known| known.done_bytes);
        *sum += done_bytes.saturating_sub(before);
        if done_bytes >= total_bytes {
            self.transfers.remove(&key);
        } else {
            let transfer = Transfer {
                direction,
                done_bytes,
                total_bytes,
            };
            self.transfers.insert(key, transfer);
        }
    }

    /// Takes the view off the screen, so that the next line stands where it began.
    fn erase(&mut self, out: &mut String) {
        if self.drawn_lines > 0 {
            let _ = write!(out, "\r\u{1b}[{}A\u{1b}[J", self.drawn_lines);
            self.drawn_lines = 0;
        }
    }

    fn draw(&mut self, at: Duration, out: &mut String) {
        let size = (self.size)().unwrap_or(SIZE_ASSUMED);
        let mut lines = self.view(at);
        // The view must not reach the first row: what scrolls out of the screen cannot be erased.
        let rows = usize::from(size.rows).saturating_sub(1).max(1);
        if lines.len() > rows {
            lines.drain(..lines.len() - rows);
        }
        self.drawn_lines = lines.len();
        out.push_str("\u{1b}[?7l");
        for line in lines {
            out.push_str(&cut(&line, usize::from(size.columns)));
            out.push('\n');
        }
        out.push_str("\u{1b}[?7h");
    }

    fn view(&self, at: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        let tail_lines = match self.running.len() {
            0 | 1 => TAIL_LINES_MAX,
            2 | 3 => 2,
            _ => 1,
        };
        for running in self.running.values() {
            let time = units::duration(at.saturating_sub(running.since));
            lines.push(self.row(&time, "1", &running.title));
            let skipped = running.tail.len().saturating_sub(tail_lines);
            for line in running.tail.iter().skip(skipped) {
                lines.push(format!("{:FIRST_COLUMN$} | {line}", ""));
            }
        }
        for (what, transfer) in self.transfers.iter().take(TRANSFERS_MAX) {
            let done = units::bytes(transfer.done_bytes);
            let total = units::bytes(transfer.total_bytes);
            let word = match transfer.direction {
                Direction::Down => "down",
                Direction::Up => "up",
            };
            lines.push(self.row(word, "36", &format!("{what} {done} / {total}")));
        }
        if self.transfers.len() > TRANSFERS_MAX {
            let more = self.transfers.len() - TRANSFERS_MAX;
            lines.push(self.row("", "0", &format!("and {more} more transfers")));
        }
        lines.push(self.row(&units::duration(at), "1", &self.state()));
        lines
    }

    fn state(&self) -> String {
        let mut state = if self.steps == 0 {
            "reading the Dockerfile and its base images".to_owned()
        } else {
            format!("{} of {} steps", self.finished, self.steps)
        };
        if self.cached > 0 {
            let _ = write!(state, ", {} cached", self.cached);
        }
        for (count, word) in [(self.down_bytes, "down"), (self.up_bytes, "up")] {
            if count > 0 {
                let _ = write!(state, ", {} {word}", units::bytes(count));
            }
        }
        state
    }

    /// A right-aligned word in a colour, and a text.
    fn row(&self, word: &str, sgr: &str, text: &str) -> String {
        let word = format!("{word:>FIRST_COLUMN$}");
        if self.colour {
            format!("\u{1b}[{sgr}m{word}\u{1b}[0m {text}")
        } else {
            format!("{word} {text}")
        }
    }
}

impl Running {
    fn output(&mut self, bytes: &[u8], colour: bool) {
        let colours = if colour {
            Colours::Keep
        } else {
            Colours::Strip
        };
        let tail = &mut self.tail;
        self.lines.push(bytes, &mut |line| {
            if tail.len() == TAIL_LINES_MAX {
                tail.pop_front();
            }
            tail.push_back(neutralise(line, colours).replace('\t', "    "));
        });
    }
}

/// The part of a line that fits. Sequences count for nothing; characters that are two columns wide
/// are left to the terminal, which does not wrap while it is drawn on.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // Only colours are left by now: up to their `m`.
            out.push(character);
            for next in characters.by_ref() {
                out.push(next);
                if next == 'm' {
                    break;
                }
            }
        } else if used < columns {
            out.push(character);
            used += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{play, script};

    fn view() -> Tty<impl Fn() -> Option<TerminalSize> + Send> {
        Tty::new(
            || {
                Some(TerminalSize {
                    columns: 44,
                    rows: 6,
                })
            },
            false,
        )
    }

    /// What a terminal shows in the end, all rows that ever scrolled included.
    fn screen(written: &str) -> String {
        let mut rows: Vec<String> = vec![String::new()];
        let mut characters = written.chars();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => {
                    let mut body = String::new();
                    for next in characters.by_ref().skip(1) {
                        body.push(next);
                        if next.is_ascii_alphabetic() {
                            break;
                        }
                    }
                    match body.strip_suffix('A') {
                        Some(up) => {
                            // The only movement is followed by erasing everything below.
                            let up: usize = up.parse().expect("a number");
                            rows.truncate(rows.len() - up);
                            rows.pop();
                            rows.push(String::new());
                        }
                        None => assert!(["J", "?7l", "?7h"].contains(&&*body), "{body}"),
                    }
                }
                '\r' => {}
                '\n' => rows.push(String::new()),
                _ => rows.last_mut().expect("a row").push(character),
            }
        }
        rows.join("\n")
    }

    #[test]
    fn in_the_end_only_what_is_done_is_left() {
        assert_eq!(
            screen(&play(&mut view(), &script())),
            "          sandbox: root
   cached [base 2/2] WORKDIR /x
     1.5s [build 2/3] RUN make
   failed [build 3/3] RUN false
  warning careful
"
        );
    }

    #[test]
    fn what_runs_is_shown_with_its_output_and_fits() {
        let mut view = view();
        let mut written = String::new();
        let step = StepNumber(1);
        let at = Duration::from_secs;
        let title = "[1/1] RUN a command that is longer than the terminal is wide".to_owned();
        view.event(at(0), &Event::Planned { steps: 1 }, &mut written);
        view.event(at(0), &Event::StepStarted { step, title }, &mut written);
        let bytes = b"one\n\x1b[2Jtwo\nthr".to_vec();
        view.event(at(1), &Event::StepOutput { step, bytes }, &mut written);
        view.tick(at(2), &mut written);
        view.tick(at(3), &mut written);
        assert_eq!(
            screen(&written),
            "     3.0s [1/1] RUN a command that is longer
          | one
          | two
     3.0s 0 of 1 steps
"
        );
        for number in 0..20 {
            let bytes = format!("line {number}\n").into_bytes();
            view.event(at(4), &Event::StepOutput { step, bytes }, &mut written);
        }
        view.tick(at(4), &mut written);
        assert_eq!(
            screen(&written).lines().count(),
            5,
            "one row less than the terminal has"
        );
        assert!(written.ends_with("\u{1b}[?7h"), "the terminal wraps again");
    }
}
