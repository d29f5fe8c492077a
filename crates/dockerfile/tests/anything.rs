//! Whatever the text: reading it does not panic, and the nodes are the text again.

#![allow(missing_docs)]

use dockerfile::ignore::IgnoreFile;
use dockerfile::{Parse, Variables, expand, expand_heredoc, expand_words, parse, parse_onbuild};
use proptest::prelude::*;

struct Half;

impl Variables for Half {
    fn get(&self, name: &str) -> Option<String> {
        name.len()
            .is_multiple_of(2)
            .then(|| format!("{name} value"))
    }
}

/// Pieces that the grammar is made of, so that random texts get beyond the first error.
fn fragments() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "LABEL ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "CMD ",
        "EXPOSE ",
        "VOLUME ",
        "SHELL ",
        "NONE ",
        "AS ",
        "--from=",
        "--interval=1s ",
        "--link ",
        "--",
        "[\"a\", \"b\"]",
        "[",
        "\"",
        "'",
        "<<EOF",
        "<<-\"E F\"",
        "EOF",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "# escape=`\n",
        "# syntax=x\n",
        "#!",
        "#",
        "\t",
        " ",
        "=",
        "${",
        "}",
        "$a",
        ":-",
        "/",
        "%",
        "##",
        "*",
        "é",
        "\u{feff}",
        "\u{85}",
        "x",
        "0",
        "//syntax=",
        "{\"syntax\":\"x\"}",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn check(text: &str, Parse { tree, diagnostics }: Parse) -> Result<(), TestCaseError> {
    let joined: String = tree.nodes.iter().map(|node| node.span.of(text)).collect();
    prop_assert_eq!(&joined, text);
    for instruction in &tree.instructions {
        prop_assert!(
            text.get(instruction.span.start..instruction.span.end)
                .is_some()
        );
        prop_assert!(
            text.get(instruction.arguments.span.start..instruction.arguments.span.end)
                .is_some()
        );
    }
    for diagnostic in &diagnostics {
        prop_assert!(
            text.get(diagnostic.span.start..diagnostic.span.end)
                .is_some(),
            "{:?}",
            diagnostic
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        check(&text, parse(&text))?;
    }

    #[test]
    fn any_dockerfile_like_text_is_read(text in fragments()) {
        check(&text, parse(&text))?;
        check(&text, parse_onbuild(&text, '`'))?;
    }

    #[test]
    fn any_word_is_expanded_or_refused(word in fragments()) {
        for result in [expand(&word, '\\', &Half), expand_heredoc(&word, &Half), expand_words(&word, '`', &Half).map(|(_, all)| all)] {
            if let Err(error) = result {
                prop_assert!(word.get(error.range.clone()).is_some(), "{:?}", error);
            }
        }
    }

    #[test]
    fn any_ignore_file_is_read_or_refused(text in "[a-c*?!/\\[\\]^\\\\ .#\n-]{0,60}", path in "[a-c]{1,2}(/[a-c]{1,2}){0,3}") {
        if let Ok(file) = IgnoreFile::parse(&text) {
            let verdict = file.matches(&path);
            if let Some((parent, _)) = path.rsplit_once('/') {
                let parent_verdict = file.matches(parent);
                prop_assert_eq!(file.matches_below(parent_verdict, &path), verdict);
                if !verdict.ignored {
                    prop_assert!(file.may_contain_included(parent, parent_verdict));
                }
            }
        }
    }
}
