//! The nodes of a Dockerfile are its text; all that points into the text points at whole characters
//! of it; and what ONBUILD stores reads as it did in the file.

use dockerfile::{DIAGNOSTICS_MAX, Diagnostic, InstructionKind, Parse, Span, parse, parse_onbuild};

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let found = parse(&text);
    check(&text, &found);
    check(&text, &parse_onbuild(&text, '\\'));
    let escape = found.tree.escape;
    for instruction in &found.tree.instructions {
        if let InstructionKind::Onbuild(onbuild) = &instruction.kind {
            let again = parse_onbuild(&onbuild.text, escape);
            check(&onbuild.text, &again);
        }
    }
    // A byte order mark is no part of what a text says (P1).
    if !text.starts_with('\u{feff}') {
        let marked = parse(&format!("\u{feff}{text}"));
        let kinds = |parse: &Parse| -> Vec<_> {
            let instructions = parse.tree.instructions.iter();
            instructions.map(|found| found.keyword.value).collect()
        };
        assert_eq!(kinds(&marked), kinds(&found));
        assert_eq!(marked.diagnostics.len(), found.diagnostics.len());
    }
}

fn check(text: &str, parse: &Parse) {
    let joined: String = (parse.tree.nodes.iter())
        .map(|node| node.span.of(text))
        .collect();
    assert_eq!(joined, text, "the nodes are the text");
    let mut end = 0;
    for instruction in &parse.tree.instructions {
        within(text, instruction.span);
        within(text, instruction.arguments.span);
        assert!(instruction.span.start >= end, "instructions are in order");
        end = instruction.span.end;
    }
    let Parse { diagnostics, .. } = parse;
    assert!(diagnostics.len() <= DIAGNOSTICS_MAX + 1);
    for Diagnostic { span, message, .. } in diagnostics {
        within(text, *span);
        assert!(!message.is_empty());
        assert!(
            !message.contains('\n'),
            "a message is one line: {message:?}"
        );
    }
    for directive in &parse.tree.directives {
        within(text, directive.span);
        within(text, directive.value.span);
    }
}

fn within(text: &str, span: Span) {
    assert!(
        text.get(span.start..span.end).is_some(),
        "{span:?} is not in the text"
    );
}
