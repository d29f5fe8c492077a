//! What the user sees while something runs, one file per shape. Renderers turn events and times
//! into text; only [`Progress`] and [`Presentation`] write, and only to stderr. That stderr is
//! full or gone never changes what a build does or how it ends.

pub(crate) mod call;
pub(crate) mod dry_run;
pub(crate) mod excerpt;
pub(crate) mod explain;
pub(crate) mod json;
pub(crate) mod lint;
pub(crate) mod metadata;
mod numbers;
mod plain;
mod quiet;
mod summary;
pub(crate) mod text;
pub(crate) mod times;
mod tty;
pub(crate) mod units;

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::{BuildReport, Event, PushReport, Reporter, SetReport};

pub(crate) use numbers::Numbers;

/// How often a live view is drawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The narrowest terminal that a live view makes sense on, in columns.
const TERMINAL_COLUMNS_MIN: u16 = 40;

/// How everything is shown, decided once from flags, environment and terminals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presentation {
    /// Which renderer.
    pub(crate) shape: Shape,
    /// Whether escape sequences for colours may be written to stderr.
    pub(crate) colour: bool,
}

/// Which renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A live view.
    Tty,
    /// Lines.
    Plain,
    /// Lines of JSON.
    Json,
    /// Errors only.
    Quiet,
}

impl Presentation {
    /// Writes text to stderr as it is.
    pub(crate) fn print(self, text: &str) {
        write_to_stderr(text, self.colour);
    }

    /// Says something that does not stop the program.
    pub(crate) fn warn(self, message: &str) {
        match self.shape {
            Shape::Tty | Shape::Plain => self.print(&excerpt::warning(message, self.colour)),
            Shape::Json => self.print(&json::warning(message)),
            Shape::Quiet => {}
        }
    }

    /// Says what is being done.
    pub(crate) fn note(self, message: &str) {
        match self.shape {
            Shape::Tty | Shape::Plain => self.print(&format!("{message}\n")),
            Shape::Json | Shape::Quiet => {}
        }
    }

    /// Asks somebody at a terminal for a word; nothing when there is no answer.
    pub(crate) fn ask(self, question: &str) -> String {
        self.print(question);
        let mut answer = String::new();
        match std::io::stdin().read_line(&mut answer) {
            Ok(_) => answer.trim_end_matches(['\r', '\n']).to_owned(),
            Err(_) => String::new(),
        }
    }

    /// Asks somebody at a terminal; anything but yes is no.
    pub(crate) fn confirm(self, question: &str) -> bool {
        self.print(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let answer = answer.trim();
        read.is_ok() && (answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
    }

    /// Prints what a push came to.
    pub(crate) fn conclude_push(self, report: &PushReport) {
        match self.shape {
            Shape::Tty | Shape::Plain => self.print(&summary::pushed(report)),
            Shape::Json => self.print(&json::pushed(report)),
            Shape::Quiet => {}
        }
    }

    /// Prints why the steps of a build ran, in full.
    pub(crate) fn explain(self, report: &BuildReport) {
        match self.shape {
            Shape::Tty | Shape::Plain => {
                self.print(&explain::explanation_text(&report.explanation));
            }
            // It is in the last line.
            Shape::Json => {}
            Shape::Quiet => {}
        }
    }

    /// Prints what a build of several images came to.
    pub(crate) fn conclude_several(self, report: &SetReport) {
        match self.shape {
            Shape::Tty | Shape::Plain => self.print(&summary::summary_of_several(report)),
            Shape::Json => self.print(&json::finished_several(report)),
            Shape::Quiet => {}
        }
    }

    /// Prints what a build came to.
    pub(crate) fn conclude(self, report: &BuildReport) {
        match self.shape {
            Shape::Tty | Shape::Plain => self.print(&summary::summary(report)),
            Shape::Json => self.print(&json::finished(report)),
            Shape::Quiet => {}
        }
    }
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

impl TerminalSize {
    /// The size of the terminal on stderr, if there is one that knows its size.
    pub(crate) fn of_stderr() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some(Self {
            columns: size.ws_col,
            rows: size.ws_row,
        })
    }

    /// Whether a live view fits.
    pub(crate) fn is_enough(self) -> bool {
        self.columns >= TERMINAL_COLUMNS_MIN && self.rows > 3
    }
}

/// Turns events into text. Knows no clock and no stream: the time since the start comes in, what
/// is to be written goes out.
trait Renderer: Send {
    /// Something happened.
    fn event(&mut self, at: Duration, event: &Event, out: &mut String);

    /// Time passed.
    fn tick(&mut self, at: Duration, out: &mut String);

    /// Nothing more will happen: leave the terminal as it should be.
    fn close(&mut self, at: Duration, out: &mut String);
}

/// Hears events from all threads and shows them.
pub(crate) struct Progress {
    shared: Arc<Shared>,
    ticker: Mutex<Option<Ticker>>,
}

/// Dropping the sender stops the thread.
type Ticker = (Sender<()>, JoinHandle<()>);

struct Shared {
    started: Instant,
    colour: bool,
    renderer: Mutex<Box<dyn Renderer>>,
}

impl Progress {
    /// Starts to show.
    pub(crate) fn start(presentation: Presentation) -> Self {
        let renderer: Box<dyn Renderer> = match presentation.shape {
            Shape::Tty => Box::new(tty::Tty::new(
                || TerminalSize::of_stderr().filter(|size| size.is_enough()),
                presentation.colour,
            )),
            Shape::Plain => Box::new(plain::Plain::default()),
            Shape::Json => Box::new(json::Json::default()),
            Shape::Quiet => Box::new(quiet::Quiet),
        };
        let shared = Arc::new(Shared {
            started: Instant::now(),
            colour: presentation.colour || presentation.shape == Shape::Tty,
            renderer: Mutex::new(renderer),
        });
        let ticker = match presentation.shape {
            Shape::Tty => Some(tick(Arc::clone(&shared))),
            Shape::Plain | Shape::Json | Shape::Quiet => None,
        };
        Self {
            shared,
            ticker: Mutex::new(ticker),
        }
    }

    /// Shows nothing more. What is printed afterwards stands below everything that was shown.
    pub(crate) fn close(&self) {
        let ticker = self
            .ticker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = ticker {
            drop(stop);
            // A ticker that panicked has already ended the program.
            let _ = thread.join();
        }
        self.shared
            .render(|renderer, at, out| renderer.close(at, out));
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event) {
        self.shared
            .render(|renderer, at, out| renderer.event(at, &event, out));
    }
}

impl Shared {
    fn render(&self, draw: impl FnOnce(&mut dyn Renderer, Duration, &mut String)) {
        let mut out = String::new();
        // The lock is held while writing, so that two threads' texts do not mix.
        let mut renderer: MutexGuard<'_, _> =
            self.renderer.lock().unwrap_or_else(PoisonError::into_inner);
        draw(renderer.as_mut(), self.started.elapsed(), &mut out);
        write_to_stderr(&out, self.colour);
    }
}

fn tick(shared: Arc<Shared>) -> Ticker {
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        while stopped.recv_timeout(REDRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            shared.render(|renderer, at, out| renderer.tick(at, out));
        }
    });
    (stop, thread)
}

/// The one place that writes to stderr. Escape sequences that slipped into text for a stream
/// without colours are taken out.
fn write_to_stderr(text: &str, colour: bool) {
    if text.is_empty() {
        return;
    }
    let choice = if colour {
        anstream::ColorChoice::AlwaysAnsi
    } else {
        anstream::ColorChoice::Never
    };
    // One write for one text: processes that share a terminal interleave by whole texts, and a
    // live view does not flicker. Errors are ignored on purpose, see the module's comment.
    let mut stream = anstream::AutoStream::new(std::io::stderr().lock(), choice);
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::{
        BuildReport, CachePlace, Direction, Event, ImageReport, OutputReport, StepNumber,
        StepOutcome, StepReport, Traffic,
    };
    use oci::{Descriptor, Digest, MediaType};

    use super::Renderer;

    /// What happens in a build with everything in it, and when, in milliseconds.
    pub(super) fn script() -> Vec<(u64, Event)> {
        let started = |step, title: &str| Event::StepStarted {
            step: StepNumber(step),
            title: title.to_owned(),
        };
        let output = |step, bytes: &[u8]| Event::StepOutput {
            step: StepNumber(step),
            bytes: bytes.to_vec(),
        };
        let finished = |step, title: &str, outcome, milliseconds| Event::StepFinished {
            step: StepNumber(step),
            title: title.to_owned(),
            cache: (outcome == StepOutcome::Cached).then_some(CachePlace::Local),
            outcome,
            duration: Duration::from_millis(milliseconds),
        };
        let pull = |done_bytes| Event::Transfer {
            what: "debian:12 layer 1/1".to_owned(),
            direction: Direction::Down,
            done_bytes,
            total_bytes: 48_000_000,
        };
        let note = Event::Note {
            message: "sandbox: root".to_owned(),
        };
        let warning = Event::Warning {
            message: "careful".to_owned(),
        };
        vec![
            (0, note),
            (100, Event::Planned { steps: 3 }),
            (
                100,
                finished(1, "[base 2/2] WORKDIR /x", StepOutcome::Cached, 0),
            ),
            (500, started(3, "[build 2/3] RUN make")),
            (1000, output(3, b"\x1b[31mcc\x1b[0m main.c\nhalf")),
            (1500, output(3, b" a line")),
            (
                1500,
                finished(3, "[build 2/3] RUN make", StepOutcome::Ran, 1500),
            ),
            (2000, pull(1_000_000)),
            (8000, pull(10_000_000)),
            (9000, pull(48_000_000)),
            (9000, started(4, "[build 3/3] RUN false")),
            (9500, output(4, b"::error::no\n")),
            (
                9500,
                finished(4, "[build 3/3] RUN false", StepOutcome::Failed, 500),
            ),
            (9500, warning),
        ]
    }

    /// Everything that a renderer writes for a script, drawn once after every event.
    pub(super) fn play(renderer: &mut dyn Renderer, script: &[(u64, Event)]) -> String {
        let mut out = String::new();
        for (milliseconds, event) in script {
            let at = Duration::from_millis(*milliseconds);
            renderer.event(at, event, &mut out);
            renderer.tick(at, &mut out);
        }
        renderer.close(Duration::from_secs(10), &mut out);
        out
    }

    /// A file that changed, and two steps that ran.
    fn explanation() -> engine::Explanation {
        let name = |step, title: &str, seconds| engine::StepName {
            step,
            title: title.to_owned(),
            file: "Dockerfile".to_owned(),
            line: 3,
            seconds,
        };
        let change = engine::FileChange::Content {
            path: "main.c".to_owned(),
            old: "01234567".to_owned(),
            new: "89abcdef".to_owned(),
        };
        engine::Explanation {
            compared: Some(engine::Compared::default()),
            causes: vec![engine::Cause {
                step: Some(name(2, "[2/3] RUN make", 90.0)),
                reason: engine::Reason::Files {
                    changes: vec![change],
                    total: 1,
                },
                ran: true,
                more: 0,
                followers: vec![engine::Follower {
                    name: name(3, "[3/3] COPY . .", 0.5),
                    input: "[2/3] RUN make".to_owned(),
                }],
                seconds: 90.5,
            }],
            seconds: 90.5,
        }
    }

    /// What a build came to.
    pub(super) fn report() -> BuildReport {
        let step = |number, title: &str, outcome, milliseconds| StepReport {
            step: StepNumber(number),
            title: title.to_owned(),
            cache: (outcome == StepOutcome::Cached).then_some(CachePlace::Local),
            outcome,
            duration: Duration::from_millis(milliseconds),
            cause: (outcome == StepOutcome::Ran).then_some(0),
        };
        let empty = Digest::of(b"");
        BuildReport {
            manifest: Descriptor::new(MediaType::OciManifest, empty.clone(), 7),
            images: vec![ImageReport {
                platform: "linux/amd64".parse().expect("a platform"),
                manifest: Descriptor::new(MediaType::OciManifest, empty.clone(), 7),
                config: empty,
            }],
            image_bytes: 12_345_678,
            steps: vec![
                step(1, "[1/3] WORKDIR /x", StepOutcome::Cached, 0),
                step(3, "[3/3] COPY . .", StepOutcome::Ran, 500),
                step(2, "[2/3] RUN make", StepOutcome::Ran, 90_000),
            ],
            id: Some("0123456789ab".to_owned()),
            explanation: explanation(),
            traffic: Traffic {
                down_bytes: 1_000,
                up_bytes: 2_000_000,
                requests: 9,
                blobs_sent: 1,
                blobs_mounted: 2,
                blobs_present: 3,
            },
            published: None,
            outputs: vec![OutputReport::Published {
                reference: "127.0.0.1:5000/x:1".parse().expect("a reference"),
                unchanged: false,
            }],
            duration: Duration::from_secs(125),
        }
    }
}
