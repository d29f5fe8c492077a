//! Texts made to cost memory or time end in one error, and triggers are read like files.

#![allow(missing_docs)]

use dockerfile::{
    DIAGNOSTICS_MAX, InstructionKind, TEXT_BYTES_MAX, WORDS_MAX, parse, parse_onbuild,
};

fn first_error(text: &str) -> String {
    let parse = parse(text);
    let joined: String = parse
        .tree
        .nodes
        .iter()
        .map(|node| node.span.of(text))
        .collect();
    assert!(joined == text, "the nodes are not the text");
    assert!(
        parse.diagnostics.len() <= DIAGNOSTICS_MAX + 1,
        "{} diagnostics",
        parse.diagnostics.len()
    );
    parse
        .diagnostics
        .iter()
        .find(|diagnostic| diagnostic.is_error())
        .map_or_else(String::new, |error| error.message.clone())
}

/// Rows: P10
#[test]
fn large_texts() {
    assert_eq!(
        first_error(&"x".repeat(TEXT_BYTES_MAX + 1)),
        "the file is longer than 16 MiB"
    );
    let long_line = format!("FROM scratch\nRUN {}\n", "x".repeat(10 << 20));
    assert_eq!(first_error(&long_line), "", "a line may be long (P10)");
    let many = format!("FROM scratch\nCOPY {}/\n", "a ".repeat(1_000_000));
    assert_eq!(
        first_error(&many),
        format!("COPY has 1000001 words, more than {WORDS_MAX}")
    );
    let flags = format!("FROM scratch\nCOPY {}a /\n", "--x ".repeat(1_000_000));
    assert_eq!(
        first_error(&flags),
        format!("COPY has 1000000 flags, more than {WORDS_MAX}")
    );
    let empty_lines = format!("FROM scratch\nRUN a \\\n{}b\n", "\n".repeat(1_000_000));
    assert_eq!(first_error(&empty_lines), "");
    assert_eq!(
        first_error(&"x\n".repeat(1_000_000)),
        "unknown instruction `x`"
    );
    let open = format!("FROM scratch\nRUN {}\n", "<<a ".repeat(1_000_000));
    assert_eq!(first_error(&open), "the here-document `a` does not end");
    let nested = format!("FROM scratch\nCMD {}\n", "[".repeat(1_000_000));
    assert_eq!(first_error(&nested), "");
}

/// Rows: I9
#[test]
fn triggers() {
    let check = |text: &str, expected: &str| {
        let parse = parse_onbuild(text, '\\');
        let found = match parse.diagnostics.first() {
            Some(diagnostic) => diagnostic.message.clone(),
            None => format!(
                "{:?}",
                parse
                    .tree
                    .instructions
                    .iter()
                    .map(|found| found.keyword.value)
                    .collect::<Vec<_>>()
            ),
        };
        assert_eq!(found, expected, "{text:?}");
    };
    check("RUN x", "[Run]");
    check("copy . /app", "[Copy]");
    check("RUN a\nRUN b", "an ONBUILD trigger is a single instruction");
    check("FROM a", "FROM is not allowed as an ONBUILD trigger");
    check(
        "ONBUILD RUN a",
        "ONBUILD is not allowed as an ONBUILD trigger",
    );
    check(
        "MAINTAINER a",
        "MAINTAINER is not allowed as an ONBUILD trigger",
    );
    check("", "the ONBUILD trigger is empty");
    check("RNU x", "unknown instruction `RNU`");
    check("# escape=`", "the ONBUILD trigger is empty");
}

/// Rows: H13
#[test]
fn a_stored_trigger_reads_as_what_it_was_made_from() {
    let text =
        "FROM scratch\nONBUILD RUN --network=none <<-EOF cat > /x && \\\n  cat /x\n\ta $b\n\tEOF\n";
    let parse = parse(text);
    assert_eq!(parse.diagnostics, []);
    let InstructionKind::Onbuild(onbuild) = &parse.tree.instructions[1].kind else {
        panic!("not ONBUILD: {:?}", parse.tree.instructions[1]);
    };
    let again = parse_onbuild(&onbuild.text, '\\');
    assert_eq!(again.diagnostics, []);
    let (InstructionKind::Run(before), InstructionKind::Run(after)) =
        (&onbuild.inner.kind, &again.tree.instructions[0].kind)
    else {
        panic!("not RUN");
    };
    let command = |run: &dockerfile::RunInstruction| match &run.command {
        dockerfile::CommandForm::Shell(shell) => shell.value.clone(),
        dockerfile::CommandForm::Exec(words) => panic!("not a shell form: {words:?}"),
    };
    assert_eq!(command(before), command(after));
    assert_eq!(
        before.network.as_ref().map(|network| &network.value),
        after.network.as_ref().map(|network| &network.value)
    );
}
