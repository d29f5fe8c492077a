//! Lines of text for logs, in the form that readers of BuildKit's logs know:
//!
//! ```text
//! #3 [build 2/5] RUN make
//! #3 0.420 cc -c main.c
//! #3 DONE 1.3s
//! #4 [stage-1 2/2] COPY --from=build /x /x
//! #4 CACHED
//! ```
//!
//! No line begins with anything that another program printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use engine::{CachePlace, Direction, Event, StepNumber, StepOutcome};

use super::Renderer;
use super::text::{Colours, Lines, neutralise, neutralise_lines, title};
use super::units;

/// How often a long transfer is mentioned.
const TRANSFER_INTERVAL: Duration = Duration::from_secs(5);

/// Lines of text.
#[derive(Default)]
pub(crate) struct Plain {
    running: BTreeMap<StepNumber, Running>,
    /// When each unfinished transfer was last mentioned.
    transfers: BTreeMap<String, Duration>,
}

struct Running {
    since: Duration,
    lines: Lines,
}

impl Renderer for Plain {
    fn event(&mut self, at: Duration, event: &Event, out: &mut String) {
        match event {
            Event::Resolved {
                reference,
                digest,
                platform,
            } => {
                let _ = writeln!(out, "base {reference} for {platform} is {digest}");
            }
            Event::Planned { steps } => {
                let _ = writeln!(out, "{} to do", units::count(*steps, "step", "steps"));
            }
            Event::StepStarted { step, title: text } => {
                let _ = writeln!(out, "#{} {}", step.0, title(text));
                let lines = Lines::default();
                self.running.insert(*step, Running { since: at, lines });
            }
            Event::StepOutput { step, bytes } => {
                if let Some(running) = self.running.get_mut(step) {
                    running.output(*step, at, bytes, out);
                }
            }
            Event::StepFinished {
                step,
                title: text,
                outcome,
                cache,
                duration,
            } => {
                match self.running.remove(step) {
                    Some(mut running) => running.rest(*step, at, out),
                    None => {
                        let _ = writeln!(out, "#{} {}", step.0, title(text));
                    }
                }
                let number = step.0;
                let time = units::duration(*duration);
                let _ = match outcome {
                    StepOutcome::Cached => match cache {
                        Some(CachePlace::Shared(address)) => {
                            writeln!(out, "#{number} CACHED from {address}")
                        }
                        Some(CachePlace::Local) | None => writeln!(out, "#{number} CACHED"),
                    },
                    StepOutcome::Ran => writeln!(out, "#{number} DONE {time}"),
                    StepOutcome::Failed => writeln!(out, "#{number} FAILED {time}"),
                    StepOutcome::Cancelled => writeln!(out, "#{number} CANCELED {time}"),
                };
            }
            Event::Transfer {
                what,
                direction,
                done_bytes,
                total_bytes,
            } => self.transfer(at, what, *direction, *done_bytes, *total_bytes, out),
            Event::Published {
                reference,
                digest,
                unchanged,
            } => {
                let state = if *unchanged {
                    "already there"
                } else {
                    "pushed"
                };
                let _ = writeln!(out, "{state} {reference} {digest}");
            }
            Event::Warning { message } => {
                let _ = writeln!(out, "warning: {}", neutralise_lines(message));
            }
            Event::Finding { .. } => {
                if let Some(finding) = super::text::finding(event) {
                    let _ = writeln!(out, "warning: {finding}");
                }
            }
            Event::Note { message } => {
                let _ = writeln!(out, "note: {}", neutralise_lines(message));
            }
        }
    }

    fn tick(&mut self, _: Duration, _: &mut String) {}

    fn close(&mut self, at: Duration, out: &mut String) {
        for (step, mut running) in std::mem::take(&mut self.running) {
            running.rest(step, at, out);
        }
    }
}

impl Plain {
    fn transfer(
        &mut self,
        at: Duration,
        what: &str,
        direction: Direction,
        done_bytes: u64,
        total_bytes: u64,
        out: &mut String,
    ) {
        let verb = match direction {
            Direction::Down => "pull",
            Direction::Up => "push",
        };
        let key = format!("{verb} {}", title(what));
        if done_bytes >= total_bytes {
            self.transfers.remove(&key);
            let _ = writeln!(out, "{key} {} DONE", units::bytes(total_bytes));
            return;
        }
        let mentioned = self.transfers.entry(key.clone()).or_insert(at);
        if at.saturating_sub(*mentioned) >= TRANSFER_INTERVAL {
            *mentioned = at;
            let done = units::bytes(done_bytes);
            let _ = writeln!(out, "{key} {done} / {}", units::bytes(total_bytes));
        }
    }
}

impl Running {
    fn output(&mut self, step: StepNumber, at: Duration, bytes: &[u8], out: &mut String) {
        let since = at.saturating_sub(self.since).as_secs_f64();
        self.lines
            .push(bytes, &mut |line| write_line(out, step, since, line));
    }

    fn rest(&mut self, step: StepNumber, at: Duration, out: &mut String) {
        let since = at.saturating_sub(self.since).as_secs_f64();
        self.lines
            .finish(&mut |line| write_line(out, step, since, line));
    }
}

fn write_line(out: &mut String, step: StepNumber, seconds: f64, line: &[u8]) {
    let text = neutralise(line, Colours::Strip);
    let _ = writeln!(out, "#{} {seconds:.3} {text}", step.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{play, script};

    #[test]
    fn a_build_reads_like_a_log() {
        assert_eq!(
            play(&mut Plain::default(), &script()),
            "\
note: sandbox: root
3 steps to do
#1 [base 2/2] WORKDIR /x
#1 CACHED
#3 [build 2/3] RUN make
#3 0.500 cc main.c
#3 1.000 half a line
#3 DONE 1.5s
pull debian:12 layer 1/1 10.0 MB / 48.0 MB
pull debian:12 layer 1/1 48.0 MB DONE
#4 [build 3/3] RUN false
#4 0.500 ::error::no
#4 FAILED 0.5s
warning: careful
"
        );
    }
}
