//! Errors as text: headline, the lines of the Dockerfile, the end of a step's output, causes and
//! hints. The only file that knows annotate-snippets.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use dockerfile::{Diagnostic, Severity, Span};
use engine::{ErrorKind, FailedStep};

use super::text::{Colours, neutralise, neutralise_lines};
use crate::error::{Detail, ProgramError};

/// The most findings about one Dockerfile that are shown.
const FINDINGS_MAX: usize = 20;

/// The most lines of a failed step's output that are shown.
const TAIL_LINES_MAX: usize = 40;

/// An error in full, ready to be printed.
pub(crate) fn error(error: &ProgramError, colour: bool) -> String {
    let mut out = String::new();
    match error.detail.as_deref() {
        Some(Detail::Findings {
            name,
            text,
            diagnostics,
        }) => {
            let found = Findings {
                name,
                text,
                diagnostics,
            };
            findings(&mut out, error, &found, colour);
        }
        Some(Detail::Step(step)) => {
            failed_step(&mut out, &error.headline, step, colour);
        }
        None if error.kind == ErrorKind::Interrupted => {
            out.push_str("interrupted\n");
        }
        None => labelled(&mut out, "error", &error.headline, colour),
    }
    for cause in &error.causes {
        labelled(&mut out, "  cause", cause, colour);
    }
    if let Some(Detail::Step(step)) = error.detail.as_deref() {
        output_tail(&mut out, step);
    }
    for hint in &error.hints {
        labelled(&mut out, "hint", hint, colour);
    }
    out
}

/// A warning about something that is not in the Dockerfile.
pub(crate) fn warning(message: &str, colour: bool) -> String {
    let mut out = String::new();
    labelled(&mut out, "warning", message, colour);
    out
}

/// One finding, with the lines of the text that it is about.
pub(crate) fn finding(name: &str, text: &str, diagnostic: &Diagnostic, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = neutralise_lines(&diagnostic.message);
    let label = neutralise_lines(&diagnostic.label);
    let help = diagnostic.help.as_deref().map(neutralise_lines);
    let text = Source::of(text, diagnostic.span);
    let mut title = level.primary_title(message);
    if let Some(rule) = diagnostic.rule {
        title = title.id(rule.name());
    }
    let mut group = title.element(
        Snippet::source(text.text.as_str()).path(name).annotation(
            AnnotationKind::Primary
                .span(text.start..text.end)
                .label(label),
        ),
    );
    if let Some(help) = help {
        group = group.element(Level::HELP.with_name("hint").message(help));
    }
    renderer(colour).render(&[group])
}

fn findings(out: &mut String, error: &ProgramError, found: &Findings<'_>, colour: bool) {
    // Whatever is left out, it is not what keeps the file from being built.
    let mut shown: Vec<(usize, &Diagnostic)> = found.diagnostics.iter().enumerate().collect();
    shown.sort_by_key(|(_, finding)| !finding.is_error());
    shown.truncate(FINDINGS_MAX);
    shown.sort_by_key(|(place, _)| *place);
    for (_, diagnostic) in shown {
        out.push_str(&finding(found.name, found.text, diagnostic, colour));
        out.push_str("\n\n");
    }
    let errors = found
        .diagnostics
        .iter()
        .filter(|finding| finding.is_error())
        .count();
    let hidden = found.diagnostics.len().saturating_sub(FINDINGS_MAX);
    let mut summary = error.headline.clone();
    if errors > 1 {
        let _ = write!(summary, ": {errors} errors");
    }
    if hidden > 0 {
        let _ = write!(summary, ", {hidden} findings not shown");
    }
    labelled(out, "error", &summary, colour);
}

/// What is wrong with a Dockerfile.
struct Findings<'e> {
    name: &'e str,
    text: &'e str,
    diagnostics: &'e [Diagnostic],
}

fn failed_step(out: &mut String, headline: &str, step: &FailedStep, colour: bool) {
    let headline = neutralise_lines(headline);
    let Some(span) = step.span else {
        labelled(out, "error", &headline, colour);
        if let Some(command) = &step.command {
            labelled(out, "  command", command, colour);
        }
        return;
    };
    let text = Source::of(&step.text, span);
    let mut group = Level::ERROR.primary_title(headline).element(
        Snippet::source(text.text.as_str())
            .path(step.name.as_str())
            .annotation(AnnotationKind::Primary.span(text.start..text.end)),
    );
    if let Some(command) = &step.command {
        group = group.element(
            Level::NOTE
                .with_name("command")
                .message(neutralise_lines(command)),
        );
    }
    out.push_str(&renderer(colour).render(&[group]));
    out.push('\n');
}

/// The end of what a step printed, every line behind a bar: none of them can pass for a line of
/// kiln's own.
fn output_tail(out: &mut String, step: &FailedStep) {
    let mut lines = Vec::new();
    let mut assembled = super::text::Lines::default();
    let mut emit = |line: &[u8]| lines.push(neutralise(line, Colours::Strip));
    assembled.push(&step.output_tail, &mut emit);
    assembled.finish(&mut emit);
    if lines.is_empty() {
        return;
    }
    let skipped = lines.len().saturating_sub(TAIL_LINES_MAX);
    out.push_str("  the end of its output:\n");
    for line in &lines[skipped..] {
        let _ = writeln!(out, "  | {line}");
    }
}

fn labelled(out: &mut String, label: &str, message: &str, colour: bool) {
    let message = neutralise_lines(message);
    // Lines after the first stand below the first one's text.
    let indent = " ".repeat(label.len() + 2);
    let message = message.replace('\n', &format!("\n{indent}"));
    if colour {
        let sgr = match label {
            "error" => "1;31",
            "warning" => "1;33",
            _ => "1;36",
        };
        let _ = writeln!(out, "\u{1b}[{sgr}m{label}\u{1b}[0m: {message}");
    } else {
        let _ = writeln!(out, "{label}: {message}");
    }
}

fn renderer(colour: bool) -> Renderer {
    if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
}

/// The Dockerfile with control characters replaced, and where the span is then.
struct Source {
    text: String,
    start: usize,
    end: usize,
}

impl Source {
    fn of(text: &str, span: Span) -> Self {
        let floor = |mut offset: usize| {
            offset = offset.min(text.len());
            while !text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let clean = |part: &str| -> String {
            part.split_inclusive('\n')
                .map(|line| match line.strip_suffix('\n') {
                    Some(line) => neutralise(line.as_bytes(), Colours::Strip) + "\n",
                    None => neutralise(line.as_bytes(), Colours::Strip),
                })
                .collect()
        };
        let before = clean(&text[..start]);
        let inside = clean(text[start..end].trim_end());
        let after = clean(&text[start + text[start..end].trim_end().len()..]);
        Self {
            start: before.len(),
            end: before.len() + inside.len(),
            text: before + &inside + &after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program_error: ProgramError, expected: &str) {
        assert_eq!(error(&program_error, false), expected);
    }

    #[test]
    fn an_error_is_a_headline_causes_and_hints() {
        check(
            ProgramError::input("`x y` is not an image reference")
                .because(&std::io::Error::other("first\nsecond"))
                .hint("see the documentation"),
            "error: `x y` is not an image reference\n  \
               cause: first\n         second\n\
             hint: see the documentation\n",
        );
    }

    #[test]
    fn findings_show_their_line() {
        let text = "FROM a\nRUNN \u{1b}[2Jb\n".to_owned();
        check(
            engine::BuildError::Dockerfile {
                name: "Dockerfile".to_owned(),
                diagnostics: vec![
                    Diagnostic::error(Span::new(7, 11), "unknown instruction `RUNN`", "not known")
                        .with_help("did you mean `RUN`?"),
                ],
                text,
            }
            .into(),
            "error: unknown instruction `RUNN`\n \
             --> Dockerfile:2:1\n  \
               |\n\
             2 | RUNN b\n  \
               | ^^^^ not known\n  \
               |\n  \
               = hint: did you mean `RUN`?\n\n\
             error: Dockerfile cannot be built\n",
        );
    }

    #[test]
    fn a_failed_step_shows_command_and_output() {
        check(
            engine::BuildError::Step(Box::new(FailedStep {
                name: "Dockerfile".to_owned(),
                text: "FROM a\nRUN make \\\n  all\n".to_owned(),
                span: Some(Span::new(7, 23)),
                title: "[2/2] RUN make   all".to_owned(),
                message: "the command exited with code 2".to_owned(),
                hint: Some("look".to_owned()),
                command: Some("/bin/sh -c make   all".to_owned()),
                output_tail: b"cc\n::error::x\n\x1b[31mmake: failed".to_vec(),
                input: false,
                source: None,
            }))
            .into(),
            "error: [2/2] RUN make   all: the command exited with code 2\n \
             --> Dockerfile:2:1\n  \
               |\n\
             2 | / RUN make \\\n\
             3 | |   all\n  \
               | |_____^\n  \
               |\n  \
               = command: /bin/sh -c make   all\n  \
             the end of its output:\n  \
             | cc\n  \
             | ::error::x\n  \
             | make: failed\n\
             hint: look\n",
        );
    }
}
