//! Each shape of the same findings.

use dockerfile::{Diagnostic, Rule, Span};

use super::{LintFormat, LintedFile, render};

fn files() -> Vec<LintedFile> {
    let text = "# 𝒳 é\nFROM a as b\nRUN x \\\n\n  y\n".to_owned();
    let at = |word: &str| {
        let start = text.find(word).expect("a word of the text");
        Span::new(start, start + word.len())
    };
    let findings = vec![
        Diagnostic::warning(at("é"), "50%\nodd", "here"),
        Diagnostic::warning(at("as"), "`as` is small", "small")
            .with_help("write `AS`")
            .of_rule(Rule::FromAsCasing),
        Diagnostic::error(at("x \\\n\n  y\n"), "wrong", "this"),
    ];
    vec![
        LintedFile {
            name: "a,b/Docker file".to_owned(),
            text,
            findings,
            rules_are_errors: true,
        },
        LintedFile {
            name: "/clean".to_owned(),
            text: "FROM a\n".to_owned(),
            findings: Vec::new(),
            rules_are_errors: false,
        },
    ]
}

#[test]
fn text_has_the_lines() {
    let found = render(&files(), LintFormat::Text, false);
    assert!(
        found.contains("error[FromAsCasing]: `as` is small\n"),
        "{found}"
    );
    assert!(found.contains("= hint: write `AS`"), "{found}");
    assert!(found.contains("--> a,b/Docker file:2:8"), "{found}");
}

#[test]
fn annotations_are_escaped() {
    assert_eq!(
        render(&files(), LintFormat::Github, false),
        "::warning file=a%2Cb/Docker file,line=1,endLine=1,col=5,endColumn=6,title=Dockerfile::50%25%0Aodd\n\
         ::error file=a%2Cb/Docker file,line=2,endLine=2,col=8,endColumn=10,title=FromAsCasing::`as` is small; write `AS`\n\
         ::error file=a%2Cb/Docker file,line=3,endLine=5,col=5,title=Dockerfile::wrong\n"
    );
}

#[test]
fn sarif_counts_as_it_says() {
    let found = render(&files(), LintFormat::Sarif, false);
    let log: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["columnKind"], "utf16CodeUnits");
    let region = |at: usize| {
        let place = &run["results"][at]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%2Cb/Docker%20file");
        let region = &place["region"];
        ["startLine", "startColumn", "endLine", "endColumn"]
            .map(|name| region[name].as_u64().expect("a number"))
    };
    // The letter above needs two code units.
    assert_eq!(region(0), [1, 6, 1, 7]);
    assert_eq!(region(1), [2, 8, 2, 10]);
    assert_eq!(region(2), [3, 5, 5, 4]);
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), Rule::ALL.len());
    let result = &run["results"][1];
    assert_eq!(result["ruleId"], "FromAsCasing");
    let index = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
    assert_eq!(rules[index]["id"], "FromAsCasing");
    assert_eq!(result["level"], "error");
    assert!(run["results"][0].get("ruleId").is_none());
    assert_eq!(run["results"][0]["level"], "warning");
    assert_eq!(run["artifacts"][1]["location"]["uri"], "file:///clean");
}

#[test]
fn json_names_places() {
    let found = render(&files(), LintFormat::Json, false);
    let document: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let finding = &document["files"][0]["findings"][1];
    assert_eq!(finding["rule"], "FromAsCasing");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["column"], 8);
    assert_eq!(finding["end_column"], 10);
    assert_eq!(document["files"][1]["findings"], serde_json::json!([]));
}
