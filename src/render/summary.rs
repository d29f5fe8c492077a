//! The last lines of a build that succeeded.

use std::fmt::Write;

use engine::{BuildReport, OutputReport, PushReport, SetReport, Traffic};

use super::Numbers;
use super::explain::cause_line;
use super::text::{neutralise_lines, title};
use super::units;

/// How many causes are named; `kiln explain` tells all.
const CAUSES_MAX: usize = 3;

/// Digest, size, steps and why they ran, bytes, where it went, and the slowest steps.
pub(crate) fn summary(report: &BuildReport) -> String {
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<8} {text}");
    };
    if report.is_index() {
        row("index", &report.manifest.digest.to_string());
        for image in &report.images {
            let platform = image.platform.to_string();
            row("image", &format!("{} {platform}", image.manifest.digest));
        }
    } else {
        row("image", &report.manifest.digest.to_string());
    }
    row("size", &units::bytes(report.image_bytes));
    rows_of_work(&mut row, report);
    out
}

/// The digest and size of each image, and the rest for all of them.
pub(crate) fn summary_of_several(report: &SetReport) -> String {
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<8} {text}");
    };
    for image in &report.images {
        let label = if image.manifest.media_type.is_index() {
            "index"
        } else {
            "image"
        };
        let size = units::bytes(image.image_bytes);
        row(
            label,
            &format!("{} {}, {size}", image.manifest.digest, image.name),
        );
    }
    rows_of_work(&mut row, &report.whole());
    out
}

fn rows_of_work(row: &mut dyn FnMut(&str, &str), report: &BuildReport) {
    let numbers = Numbers::of(report);
    row(
        "steps",
        &format!(
            "{}: {} cached{}, {} run, in {}",
            numbers.steps,
            numbers.cached,
            match numbers.shared {
                0 => String::new(),
                shared => format!(" ({shared} elsewhere)"),
            },
            numbers.ran,
            units::duration(report.duration)
        ),
    );
    if report.explanation.compared.is_some() {
        for (place, cause) in report
            .explanation
            .causes
            .iter()
            .enumerate()
            .take(CAUSES_MAX)
        {
            let label = if place == 0 { "because" } else { "" };
            row(label, &cause_line(cause));
        }
        let causes = report.explanation.causes.len();
        if let Some(more) = causes.checked_sub(CAUSES_MAX).filter(|more| *more > 0) {
            row("", &format!("and {more} more: `kiln explain` tells all"));
        }
    }
    rows_of_traffic(row, &report.traffic, &report.outputs);
    for (place, step) in numbers.slowest.iter().enumerate() {
        let label = if place == 0 { "slowest" } else { "" };
        let time = units::duration(step.duration);
        row(label, &format!("{time} {}", title(&step.title)));
    }
}

/// Digest, bytes, and where it went.
pub(crate) fn pushed(report: &PushReport) -> String {
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<8} {text}");
    };
    let label = if report.manifest.media_type.is_index() {
        "index"
    } else {
        "image"
    };
    row(label, &report.manifest.digest.to_string());
    rows_of_traffic(&mut row, &report.traffic, &report.outputs);
    out
}

fn rows_of_traffic(row: &mut dyn FnMut(&str, &str), traffic: &Traffic, outputs: &[OutputReport]) {
    row("pulled", &units::bytes(traffic.down_bytes));
    let mut pushed = units::bytes(traffic.up_bytes);
    if traffic.blobs_sent + traffic.blobs_mounted + traffic.blobs_present > 0 {
        let sent = traffic.blobs_sent as usize;
        let _ = write!(
            pushed,
            " ({} sent, {} mounted, {} already there)",
            units::count(sent, "blob", "blobs"),
            traffic.blobs_mounted,
            traffic.blobs_present
        );
    }
    row("pushed", &pushed);
    for output in outputs {
        let (label, text) = match output {
            OutputReport::Published {
                reference,
                unchanged: false,
            } => ("tag", reference.to_string()),
            OutputReport::Published {
                reference,
                unchanged: true,
            } => ("tag", format!("{reference} (unchanged)")),
            OutputReport::Stored { reference } => ("stored", reference.to_string()),
            OutputReport::Written { path: Some(path) } => {
                ("written", neutralise_lines(&path.to_string_lossy()))
            }
            OutputReport::Written { path: None } => ("written", "to stdout".to_owned()),
            OutputReport::Loaded { engine } => ("loaded", format!("into {engine}")),
        };
        row(label, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::report;

    #[test]
    fn the_summary_has_everything_that_was_counted() {
        assert_eq!(
            summary(&report()),
            "  image    sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  size     12.3 MB
  steps    3: 1 cached, 2 run, in 2m05s
  because  [2/3] RUN make: main.c changed: 01234567 → 89abcdef (2 steps, 1m30s)
  pulled   1.0 kB
  pushed   2.0 MB (1 blob sent, 2 mounted, 3 already there)
  tag      127.0.0.1:5000/x:1
  slowest  1m30s [2/3] RUN make
           0.5s [3/3] COPY . .
"
        );
    }
}
