//! Texts that nobody writes: they are refused with a place, quickly, and never by a panic (F12).

use project::{TEXT_BYTES_MAX, read};
use proptest::prelude::*;

fn check(text: &str, expected: &str) {
    let error = read("kiln.yaml", text).expect_err(expected);
    let said = &error.diagnostics[0].message;
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    check(&bomb, "the file has more than 50000 values");
}

#[test]
fn depth_is_bounded() {
    check(&"[".repeat(100_000), "deeper than 32 levels");
    let steps: String = (0..1_000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    check(&steps, "deeper than 32 levels");
    check(
        &format!("a: {}", "{a: ".repeat(10_000)),
        "deeper than 32 levels",
    );
}

#[test]
fn size_is_bounded() {
    check(&" ".repeat(TEXT_BYTES_MAX + 1), "more than 1048576 bytes");
    let many: String = (0..60_000)
        .map(|number| format!("k{number}: 1\n"))
        .collect();
    check(&many, "the file has more than 50000 values");
}

#[test]
fn merge_keys_are_bounded() {
    let mut text = "images:\n  a: &a {target: x}\n".to_owned();
    for number in 0..2_000 {
        text.push_str(&format!("  b{number}:\n    <<: *a\n"));
    }
    check(&text, "the file has more than");
}

#[test]
fn many_mistakes_are_not_all_kept() {
    let many: String = (0..5_000).map(|number| format!("k{number}: 1\n")).collect();
    let error = read("kiln.yaml", &many).expect_err("unknown keys");
    assert!(error.diagnostics.len() <= 100);
}

const SAMPLE: &str = include_str!("good/everything.yaml");

proptest! {
    #[test]
    fn nothing_panics(text in "[a-z:\\-\\[\\]{}&*!|>?%@`\"'#, \n\t~<0-9é]{0,200}") {
        let _ = read("kiln.yaml", &text);
    }

    #[test]
    fn nothing_panics_on_what_is_nearly_right(
        at in 0..SAMPLE.len(),
        length in 0..20_usize,
        new in "[a-z:\\-\\[\\]{}&*!|>\"'#, \n\té]{0,8}",
    ) {
        let end = (at + length).min(SAMPLE.len());
        if SAMPLE.is_char_boundary(at) && SAMPLE.is_char_boundary(end) {
            let text = format!("{}{new}{}", &SAMPLE[..at], &SAMPLE[end..]);
            if let Err(error) = read("kiln.yaml", &text) {
                prop_assert!(!error.diagnostics.is_empty());
                for finding in &error.diagnostics {
                    prop_assert!(error.text.get(finding.span.start..finding.span.end).is_some());
                }
            }
        }
    }
}
