//! One JSON object per line, for programs. The schema is docs/progress.md; fields are added, never
//! changed, and a change that breaks readers gets another number.

use std::collections::BTreeMap;
use std::time::Duration;

use dockerfile::{LineColumn, Severity, Span};
use engine::{BuildReport, ErrorKind, Event, PushReport, SetReport, StepNumber};
use serde_json::{Map, Value, json};

use super::Renderer;
use super::metadata::{build_numbers, traffic_numbers};
use super::text::Lines;
use crate::error::{Detail, ProgramError};

/// The version of the schema, on every line.
const SCHEMA: u32 = 1;

/// Lines of JSON.
#[derive(Default)]
pub(crate) struct Json {
    lines: BTreeMap<StepNumber, Lines>,
}

impl Renderer for Json {
    fn event(&mut self, at: Duration, event: &Event, out: &mut String) {
        match event {
            Event::StepOutput { step, bytes } => {
                let lines = self.lines.entry(*step).or_default();
                lines.push(bytes, &mut |line| output_line(out, at, *step, line));
            }
            Event::StepFinished { step, .. } => {
                if let Some(mut lines) = self.lines.remove(step) {
                    lines.finish(&mut |line| output_line(out, at, *step, line));
                }
                write_event(out, at, event);
            }
            Event::Resolved { .. }
            | Event::Planned { .. }
            | Event::StepStarted { .. }
            | Event::Transfer { .. }
            | Event::Published { .. }
            | Event::Warning { .. }
            | Event::Finding { .. }
            | Event::Note { .. } => write_event(out, at, event),
        }
    }

    fn tick(&mut self, _: Duration, _: &mut String) {}

    fn close(&mut self, at: Duration, out: &mut String) {
        for (step, mut lines) in std::mem::take(&mut self.lines) {
            lines.finish(&mut |line| output_line(out, at, step, line));
        }
    }
}

/// The last line of a build that succeeded.
pub(crate) fn finished(report: &BuildReport) -> String {
    let mut fields = Map::new();
    fields.insert("digest".to_owned(), json!(report.manifest.digest));
    if let ([image], false) = (report.images.as_slice(), report.is_index()) {
        fields.insert("config".to_owned(), json!(image.config));
    }
    fields.extend(build_numbers(report));
    let mut out = String::new();
    write_line(&mut out, "finished", Some(report.duration), fields);
    out
}

/// The last line of a build of several images that succeeded.
pub(crate) fn finished_several(report: &SetReport) -> String {
    let images = report.images.iter().map(|image| {
        let platforms = image.images.iter().map(|image| image.platform.to_string());
        json!({
            "name": image.name,
            "digest": image.manifest.digest,
            "input": image.input,
            "platforms": platforms.collect::<Vec<_>>(),
        })
    });
    let images: Vec<Value> = images.collect();
    let mut fields = build_numbers(&report.whole());
    fields.insert("images".to_owned(), json!(images));
    let mut out = String::new();
    write_line(&mut out, "finished", Some(report.duration), fields);
    out
}

/// The last line of a push that succeeded.
pub(crate) fn pushed(report: &PushReport) -> String {
    let mut fields = Map::new();
    fields.insert("digest".to_owned(), json!(report.manifest.digest));
    fields.insert("seconds".to_owned(), json!(report.duration.as_secs_f64()));
    fields.extend(traffic_numbers(&report.traffic, &report.outputs));
    let mut out = String::new();
    write_line(&mut out, "finished", Some(report.duration), fields);
    out
}

/// Something that the program itself warns of.
pub(crate) fn warning(message: &str) -> String {
    let mut fields = Map::new();
    fields.insert("message".to_owned(), json!(message));
    let mut out = String::new();
    write_line(&mut out, "warning", None, fields);
    out
}

/// The last line of a run that failed.
pub(crate) fn error(error: &ProgramError) -> String {
    let kind = match error.kind {
        ErrorKind::Input => "input",
        ErrorKind::Failed => "failed",
        ErrorKind::TagConflict => "tag-conflict",
        ErrorKind::Interrupted => "interrupted",
    };
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    put("kind", json!(kind));
    put("message", json!(error.headline));
    put("causes", json!(error.causes));
    put("hints", json!(error.hints));
    match error.detail.as_deref() {
        None => {}
        Some(Detail::Findings {
            name,
            text,
            diagnostics,
        }) => {
            let findings: Vec<Value> = diagnostics
                .iter()
                .map(|finding| {
                    let severity = match finding.severity {
                        Severity::Error => "error",
                        Severity::Warning => "warning",
                    };
                    json!({
                        "severity": severity,
                        "message": finding.message,
                        "place": place(name, text, finding.span),
                        "hint": finding.help,
                        "rule": finding.rule.map(dockerfile::Rule::name),
                    })
                })
                .collect();
            put("findings", json!(findings));
        }
        Some(Detail::Step(step)) => {
            put("title", json!(step.title));
            if let Some(span) = step.span {
                put("place", place(&step.name, &step.text, span));
            }
            put("command", json!(step.command));
            put(
                "output_tail",
                json!(String::from_utf8_lossy(&step.output_tail)),
            );
        }
    }
    let mut out = String::new();
    write_line(&mut out, "error", None, fields);
    out
}

fn place(name: &str, text: &str, span: Span) -> Value {
    let start = LineColumn::at(text, span.start);
    let end = LineColumn::at(text, span.end);
    json!({
        "file": name,
        "line": start.line,
        "column": start.column,
        "end_line": end.line,
        "end_column": end.column,
    })
}

fn output_line(out: &mut String, at: Duration, step: StepNumber, line: &[u8]) {
    let mut fields = Map::new();
    fields.insert("step".to_owned(), json!(step));
    fields.insert("text".to_owned(), json!(String::from_utf8_lossy(line)));
    write_line(out, "step_output", Some(at), fields);
}

fn write_event(out: &mut String, at: Duration, event: &Event) {
    // Events are plain data: they always have a form in JSON, and it is always an object.
    let Ok(Value::Object(mut fields)) = serde_json::to_value(event) else {
        return;
    };
    let Some(Value::String(name)) = fields.remove("event") else {
        return;
    };
    write_line(out, &name, Some(at), fields);
}

fn write_line(out: &mut String, event: &str, at: Option<Duration>, fields: Map<String, Value>) {
    let mut line = Map::new();
    line.insert("schema".to_owned(), json!(SCHEMA));
    line.insert("event".to_owned(), json!(event));
    if let Some(at) = at {
        line.insert("at_seconds".to_owned(), json!(at.as_secs_f64()));
    }
    line.extend(fields);
    let text = Value::Object(line).to_string();
    // The same JSON, but no order to a CI agent that reads the log line by line.
    out.push_str(&text.replace("##", "#\\u0023"));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{play, report, script};
    use engine::{BuildError, FailedStep};

    fn parse(text: &str) -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect()
    }

    #[test]
    fn every_line_is_an_object_with_schema_and_event() {
        let lines = parse(&play(&mut Json::default(), &script()));
        assert!(lines.iter().all(|line| line["schema"] == 1));
        let events: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["event"].as_str())
            .collect();
        assert_eq!(
            events,
            [
                "note",
                "planned",
                "step_finished",
                "step_started",
                "step_output",
                "step_output",
                "step_finished",
                "transfer",
                "transfer",
                "transfer",
                "step_started",
                "step_output",
                "step_finished",
                "warning"
            ]
        );
        assert_eq!(
            lines[4]["text"], "\u{1b}[31mcc\u{1b}[0m main.c",
            "nothing is taken out of strings"
        );
        assert_eq!(lines[6]["outcome"], "ran");
        assert_eq!(lines[6]["seconds"], 1.5);
    }

    #[test]
    fn no_line_gives_an_order_to_an_agent() {
        let mut json = Json::default();
        let mut out = String::new();
        let event = Event::StepOutput {
            step: StepNumber(1),
            bytes: b"##vso[task.complete]\n".to_vec(),
        };
        json.event(Duration::ZERO, &event, &mut out);
        assert!(!out.contains("##"), "{out}");
        assert_eq!(parse(&out)[0]["text"], "##vso[task.complete]");
    }

    #[test]
    fn the_end_has_the_numbers_or_the_error() {
        let end = &parse(&finished(&report()))[0];
        assert_eq!(end["event"], "finished");
        assert_eq!(end["steps.ran"], 2);

        let failed = BuildError::Step(Box::new(FailedStep {
            name: "Dockerfile".to_owned(),
            text: "FROM a\n RUN b\n".to_owned(),
            span: Some(Span::new(8, 13)),
            title: "[2/2] RUN b".to_owned(),
            message: "the command exited with code 3".to_owned(),
            hint: None,
            command: None,
            output_tail: b"x".to_vec(),
            input: false,
            source: None,
        }));
        let end = &parse(&error(&failed.into()))[0];
        assert_eq!(end["kind"], "failed");
        assert_eq!(end["place"]["line"], 2);
        assert_eq!(end["place"]["column"], 2);
        assert_eq!(end["output_tail"], "x");
    }
}
