//! What is said of declarations that are wrong: `bad/NAME.yaml` and `bad/NAME.txt`, one finding on a
//! line, as `line:column-column message`, with its label and help below.
//!
//! `KILN_BLESS=1` writes the texts anew; the diff is then read by a person.

use std::fs;
use std::path::Path;

use project::{ReadError, Span, read};

#[test]
fn every_case_says_what_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root)
        .expect("a folder of cases")
        .map(|entry| entry.expect("a case").path())
        .filter(|path| path.extension().is_some_and(|name| name == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "there are only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let text = fs::read_to_string(&case).expect("a text");
        let said = match read("kiln.yaml", &text) {
            Ok(_) => "nothing is wrong\n".to_owned(),
            Err(error) => shown(&error),
        };
        let expected = case.with_extension("txt");
        if bless {
            fs::write(&expected, &said).expect("written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nKILN_BLESS=1 writes these down",
        wrong.join("\n")
    );
}

fn shown(error: &ReadError) -> String {
    let mut out = String::new();
    for finding in &error.diagnostics {
        let (line, column) = finding.span.position(&error.text);
        let end = Span::new(finding.span.end, finding.span.end).position(&error.text);
        out.push_str(&format!(
            "{line}:{column}-{}:{} {}\n",
            end.0, end.1, finding.message
        ));
        if !finding.label.is_empty() {
            out.push_str(&format!("    label: {}\n", finding.label));
        }
        if let Some(help) = &finding.help {
            out.push_str(&format!("    help: {help}\n"));
        }
    }
    out
}
