//! Every folder of `tests/dockerfiles/` is a case: a `Dockerfile`, the `tree.txt` that it becomes
//! and the `diagnostics.txt` that it deserves. `KILN_BLESS=1` writes the two anew; review the diff.

#![allow(missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dockerfile::{
    CommandForm, CopySource, Dockerfile, Healthcheck, InlineFile, Instruction, InstructionKind,
    LineColumn, NodeKind, Pairs, Severity, Span, Spanned, parse,
};

#[test]
fn every_case_reads_as_written_down() {
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut cases: Vec<PathBuf> = fs::read_dir(root())
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    assert!(
        cases.len() >= 40,
        "only {} cases found in {}",
        cases.len(),
        root().display()
    );
    let mut different = Vec::new();
    for case in cases {
        let text = fs::read_to_string(case.join("Dockerfile")).expect("a Dockerfile in UTF-8");
        let parse = parse(&text);
        assert_tiles(&parse.tree, &text);
        let found = [
            ("tree.txt", show_tree(&parse.tree, &text)),
            (
                "diagnostics.txt",
                show_diagnostics(&parse.diagnostics, &text),
            ),
        ];
        for (file, found) in found {
            let path = case.join(file);
            let expected = fs::read_to_string(&path).unwrap_or_default();
            if bless && found != expected {
                fs::write(&path, &found).expect("writing the expectation");
            } else if found != expected {
                different.push(format!(
                    "{}\n--- expected\n{expected}--- found\n{found}",
                    path.display()
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dockerfiles")
}

/// All nodes together are the text.
fn assert_tiles(tree: &Dockerfile, text: &str) {
    let joined: String = tree.nodes.iter().map(|node| node.span.of(text)).collect();
    assert_eq!(joined, text, "the nodes are not the text");
}

fn show_diagnostics(diagnostics: &[dockerfile::Diagnostic], text: &str) -> String {
    let mut shown = String::new();
    for diagnostic in diagnostics {
        let severity = match diagnostic.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let place = place(diagnostic.span, text);
        writeln!(
            shown,
            "{place} {severity}: {} [{}]",
            diagnostic.message, diagnostic.label
        )
        .expect("a string");
        if let Some(help) = &diagnostic.help {
            writeln!(shown, "    help: {help}").expect("a string");
        }
    }
    shown
}

fn place(span: Span, text: &str) -> String {
    let (start, end) = (
        LineColumn::at(text, span.start),
        LineColumn::at(text, span.end),
    );
    format!(
        "{}:{}-{}:{}",
        start.line, start.column, end.line, end.column
    )
}

fn show_tree(tree: &Dockerfile, text: &str) -> String {
    let mut shown = format!("escape {}\n", tree.escape);
    for node in &tree.nodes {
        let kind = match node.kind {
            NodeKind::ByteOrderMark => "byte order mark",
            NodeKind::Shebang => "shebang",
            NodeKind::Comment => "comment",
            NodeKind::Blank => "blank",
            NodeKind::Invalid => "invalid",
            NodeKind::Directive(index) => {
                let directive = &tree.directives[index];
                writeln!(
                    shown,
                    "{} directive {} {:?}",
                    place(directive.span, text),
                    directive.kind.name(),
                    directive.value.value
                )
                .expect("a string");
                continue;
            }
            NodeKind::Instruction(index) => {
                show_instruction(&mut shown, &tree.instructions[index], text, "");
                continue;
            }
        };
        writeln!(shown, "{} {kind}", place(node.span, text)).expect("a string");
    }
    shown
}

fn show_instruction(shown: &mut String, instruction: &Instruction, text: &str, indent: &str) {
    let mut lines = Vec::new();
    let mut add =
        |label: &str, word: &Spanned<String>| lines.push((label.to_owned(), word.clone()));
    let mut inner = None;
    match &instruction.kind {
        InstructionKind::From(from) => {
            from.platform.iter().for_each(|word| add("platform", word));
            add("image", &from.image);
            from.name.iter().for_each(|word| add("name", word));
        }
        InstructionKind::Run(run) => {
            run.mounts.iter().for_each(|word| add("mount", word));
            run.network.iter().for_each(|word| add("network", word));
            run.security.iter().for_each(|word| add("security", word));
            run.devices.iter().for_each(|word| add("device", word));
            command(&run.command, &mut add);
            run.files
                .iter()
                .for_each(|file| inline("pipe", file, &mut add));
        }
        InstructionKind::Copy(copy) => {
            copy.from.iter().for_each(|word| add("from", word));
            copy.chown.iter().for_each(|word| add("chown", word));
            copy.chmod.iter().for_each(|word| add("chmod", word));
            for (flag, name) in [(copy.link, "link"), (copy.parents, "parents")] {
                if flag {
                    add(
                        "flag",
                        &Spanned::new(name.to_owned(), instruction.keyword.span),
                    );
                }
            }
            copy.excludes.iter().for_each(|word| add("exclude", word));
            sources(&copy.sources, &mut add);
            add("to", &copy.destination);
        }
        InstructionKind::Add(instruction_add) => {
            instruction_add
                .chown
                .iter()
                .for_each(|word| add("chown", word));
            instruction_add
                .chmod
                .iter()
                .for_each(|word| add("chmod", word));
            instruction_add
                .checksum
                .iter()
                .for_each(|word| add("checksum", word));
            instruction_add
                .excludes
                .iter()
                .for_each(|word| add("exclude", word));
            let switches = [
                (Some(instruction_add.link), "link"),
                (instruction_add.keep_git_dir, "keep-git-dir"),
                (instruction_add.unpack, "unpack"),
            ];
            for (value, name) in switches {
                if let Some(value) = value {
                    add(
                        "flag",
                        &Spanned::new(format!("{name}={value}"), instruction.keyword.span),
                    );
                }
            }
            sources(&instruction_add.sources, &mut add);
            add("to", &instruction_add.destination);
        }
        InstructionKind::Arg(declarations) => {
            for declaration in declarations {
                add("name", &declaration.name);
                declaration
                    .default
                    .iter()
                    .for_each(|word| add("default", word));
            }
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => pairs_lines(pairs, &mut add),
        InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Maintainer(word) => add("argument", word),
        InstructionKind::Expose(words)
        | InstructionKind::Volume(words)
        | InstructionKind::Shell(words) => {
            words.iter().for_each(|word| add("argument", word));
        }
        InstructionKind::Cmd(form) | InstructionKind::Entrypoint(form) => command(form, &mut add),
        InstructionKind::Healthcheck(Healthcheck::None) => {}
        InstructionKind::Healthcheck(Healthcheck::Check(check)) => {
            let times = [
                ("interval", &check.interval),
                ("timeout", &check.timeout),
                ("start-period", &check.start_period),
                ("start-interval", &check.start_interval),
            ];
            for (name, time) in times {
                time.iter()
                    .for_each(|time| add(name, &time.clone().map(|time| time.to_string())));
            }
            check.retries.iter().for_each(|retries| {
                add(
                    "retries",
                    &retries.clone().map(|retries| retries.to_string()),
                );
            });
            command(&check.command, &mut add);
        }
        InstructionKind::Onbuild(onbuild) => {
            add(
                "trigger",
                &Spanned::new(onbuild.text.clone(), instruction.arguments.span),
            );
            inner = Some(&onbuild.inner);
        }
    }
    let whole = place(instruction.span, text);
    writeln!(
        shown,
        "{indent}{whole} {} {:?}",
        instruction.keyword.value, instruction.arguments.value
    )
    .expect("a string");
    for (label, word) in &lines {
        writeln!(
            shown,
            "{indent}    {label} {:?} @ {}",
            word.value,
            place(word.span, text)
        )
        .expect("a string");
    }
    for heredoc in &instruction.heredocs {
        let tabs = if heredoc.strip_tabs { " tabs" } else { "" };
        let expand = if heredoc.expand { " expand" } else { "" };
        writeln!(
            shown,
            "{indent}    heredoc {}<<{}{tabs}{expand} {:?} @ {} ends {}",
            heredoc.file_descriptor,
            heredoc.name,
            heredoc.body.value,
            place(heredoc.body.span, text),
            place(heredoc.terminator, text),
        )
        .expect("a string");
    }
    if let Some(inner) = inner {
        show_instruction(shown, inner, text, "    ");
    }
}

fn command(form: &CommandForm, add: &mut impl FnMut(&str, &Spanned<String>)) {
    match form {
        CommandForm::Shell(text) => add("shell", text),
        CommandForm::Exec(words) => words.iter().for_each(|word| add("exec", word)),
    }
}

fn sources(sources: &[CopySource], add: &mut impl FnMut(&str, &Spanned<String>)) {
    for source in sources {
        match source {
            CopySource::Path(word) => add("source", word),
            CopySource::Inline(file) => inline("inline", file, add),
        }
    }
}

fn inline(label: &str, file: &InlineFile, add: &mut impl FnMut(&str, &Spanned<String>)) {
    add(label, &file.name);
    let label = if file.expand {
        "content to expand"
    } else {
        "content"
    };
    add(label, &Spanned::new(file.content.clone(), file.name.span));
}

fn pairs_lines(pairs: &Pairs, add: &mut impl FnMut(&str, &Spanned<String>)) {
    let (key, value) = match pairs.form {
        dockerfile::PairForm::Equals => ("key", "value"),
        dockerfile::PairForm::Legacy => ("legacy key", "value"),
    };
    for pair in &pairs.pairs {
        add(key, &pair.key);
        add(value, &pair.value);
    }
}
