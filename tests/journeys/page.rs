//! Pages of docs/ that are run: sessions of a shell with what they show, jobs of CI, and files.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

/// One command, with the lines that the page shows of its output.
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) shown: Vec<String>,
}

/// A page: what is typed, in order, and the files that are written.
pub(crate) struct Page {
    name: String,
    steps: VecDeque<Step>,
    files: Vec<(String, String)>,
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name);
        let text = fs::read_to_string(path).expect("a page");
        let mut page = Self {
            name: name.to_owned(),
            steps: VecDeque::new(),
            files: Vec::new(),
        };
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(language) = line.strip_prefix("```") else {
                continue;
            };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match language {
                "console" => page.session(&block),
                "yaml" => page.file(&block),
                other => panic!("{name}: nobody runs a block of `{other}`"),
            }
        }
        page
    }

    fn session(&mut self, block: &[&str]) {
        for line in block {
            match (line.strip_prefix("$ "), self.steps.back_mut()) {
                (Some(command), _) => self.push(command),
                (None, Some(step)) => step.shown.push((*line).to_owned()),
                (None, None) => panic!("{}: output of no command: {line}", self.name),
            }
        }
    }

    /// A file has its name in a comment on the first line. The commands of a job of CI are run too.
    fn file(&mut self, block: &[&str]) {
        let name = block.first().and_then(|line| line.strip_prefix("# "));
        let name = name.unwrap_or_else(|| panic!("{}: a file without a name", self.name));
        self.files.push((name.to_owned(), block.join("\n") + "\n"));
        for line in block {
            if let Some(command) = line.trim_start().strip_prefix("- run: ") {
                self.push(command);
            }
        }
    }

    fn push(&mut self, command: &str) {
        self.steps.push_back(Step {
            command: command.to_owned(),
            shown: Vec::new(),
        });
    }

    /// The next command, which begins with these words.
    #[track_caller]
    pub(crate) fn next(&mut self, beginning: &str) -> Step {
        let step = self.steps.pop_front();
        let step = step.unwrap_or_else(|| panic!("{}: nothing follows", self.name));
        assert!(
            step.command.starts_with(beginning),
            "{}: `{}` follows, and not `{beginning}`",
            self.name,
            step.command
        );
        step
    }

    /// What a file of the page has in it.
    #[track_caller]
    pub(crate) fn content(&self, name: &str) -> &str {
        let found = self.files.iter().find(|(known, _)| known == name);
        let found = found.unwrap_or_else(|| panic!("{}: there is no {name}", self.name));
        &found.1
    }

    /// Everything was run.
    #[track_caller]
    pub(crate) fn ends(self) {
        let rest: Vec<String> = self.steps.into_iter().map(|step| step.command).collect();
        assert!(rest.is_empty(), "{}: nobody ran {rest:?}", self.name);
    }
}

impl Step {
    /// Whether all lines of the page are there, in this order; else the one that is not.
    pub(crate) fn missing_in(&self, output: &str) -> Option<&str> {
        let mut lines = output.lines();
        let absent = |wanted: &&String| !lines.any(|line| fits(wanted, line));
        self.shown.iter().find(absent).map(String::as_str)
    }
}

/// Whether a line is the one of the page, in which `…` is any text, and any blank is as long as it
/// likes.
fn fits(wanted: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (wanted, line) = (squeeze(wanted), squeeze(line));
    let parts: Vec<&str> = wanted.split('…').collect();
    let [first, middle @ .., last] = &parts[..] else {
        return wanted == line;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn shown_lines_are_found_in_order() {
    let check = |shown: &[&str], output: &str, missing: Option<&str>| {
        let step = Step {
            command: String::new(),
            shown: shown.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(step.missing_in(output), missing, "{shown:?} in {output:?}");
    };
    check(&["a", "c"], "a\nb\nc\n", None);
    check(&["c", "a"], "a\nb\nc\n", Some("a"));
    check(&["a…z"], "a to z\n", None);
    check(&["…:…-dirty-…"], "x:1-dirty-2\n", None);
    check(&["…:…-dirty-…"], "x:1\n", Some("…:…-dirty-…"));
    check(&["a  b"], "a b\n", None);
    check(&["a"], "ab\n", Some("a"));
}
