//! What breaks a rule, and what looks like it and does not.

use crate::lint::Settings;
use crate::{LineColumn, Rule, parse};

/// `expected`: for each finding its rule, its place and the text there, each on a line.
#[track_caller]
fn check(text: &str, expected: &str) {
    let parse = parse(text);
    assert!(!parse.has_errors(), "{:?}", parse.diagnostics);
    let mut findings = parse.diagnostics.clone();
    findings.extend(super::file(&parse.tree, text));
    let mut stage = Vec::new();
    let is_from = |one: &&crate::Instruction| one.keyword.value == crate::Keyword::From;
    let instructions = parse.tree.instructions.iter();
    for instruction in instructions.skip_while(|one| !is_from(one)) {
        if instruction.keyword.value == crate::Keyword::From {
            findings.extend(super::stage(&stage));
            stage.clear();
        } else {
            stage.push(instruction.clone());
        }
    }
    findings.extend(super::stage(&stage));
    let (settings, wrong) = Settings::of_file(&parse.tree);
    findings.extend(wrong);
    settings.select(&parse.tree, text, &mut findings);
    findings.sort_by_key(|finding| finding.span);
    let shown: Vec<String> = findings
        .iter()
        .map(|finding| {
            let place = LineColumn::of(text, finding.span);
            let rule = finding.rule.map_or("no rule", Rule::name);
            let there = finding.span.of(text);
            format!("{rule} {}:{} {there:?}", place.line, place.column)
        })
        .collect();
    assert_eq!(shown.join("\n"), expected, "{text}");
}

#[test]
fn instructions_are_in_the_case_of_most() {
    check("FROM scratch\nCOPY a /\n", "");
    check("from scratch\ncopy a /\n", "");
    check("arg X=1\nFROM scratch\nCOPY a /\n", "");
    check(
        "FROM scratch\ncopy a /\nCOPY b /\n",
        r#"ConsistentInstructionCasing 2:1 "copy""#,
    );
    check(
        "from scratch\nCopy a /\n",
        r#"ConsistentInstructionCasing 2:1 "Copy""#,
    );
    // As many of each: capitals win.
    check(
        "from scratch\nCOPY a /\n",
        r#"ConsistentInstructionCasing 1:1 "from""#,
    );
}

/// Rows: F5, F9
#[test]
fn names_of_stages() {
    check("FROM scratch AS Build\n", r#"StageNameCasing 1:17 "Build""#);
    check("FROM scratch as b\n", r#"FromAsCasing 1:14 "as""#);
    check("from scratch AS b\n", r#"FromAsCasing 1:14 "AS""#);
    check("FROM scratch aS b\n", r#"FromAsCasing 1:14 "aS""#);
    check("FROM alias AS as\n", "");
    check("FROM a \\\n  as b\n", r#"FromAsCasing 2:3 "as""#);
    // Mixed case is one finding, not two.
    check(
        "From scratch AS b\nCOPY a /\n",
        r#"ConsistentInstructionCasing 1:1 "From""#,
    );
    check(
        "FROM a AS b\nFROM a AS B\n",
        "StageNameCasing 2:11 \"B\"\nDuplicateStageName 2:11 \"B\"",
    );
    check("FROM a AS context\n", r#"ReservedStageName 1:11 "context""#);
    check("FROM a AS contexts\n", "");
}

#[test]
fn old_forms() {
    check("FROM a\nENV k v w\n", r#"LegacyKeyValueFormat 2:5 "k v w""#);
    check("FROM a\nLABEL k v\n", r#"LegacyKeyValueFormat 2:7 "k v""#);
    check("FROM a\nENV k=v w=x\nLABEL k=\n", "");
    check(
        "FROM a\nMAINTAINER me\n",
        r#"MaintainerDeprecated 2:1 "MAINTAINER""#,
    );
    check("FROM a\nLABEL maintainer=me\n", "");
}

/// Rows: P8
#[test]
fn empty_lines_in_continuations() {
    check(
        "FROM a\nRUN b \\\n\n  c\n",
        "NoEmptyContinuation 3:1 \"\\n\"",
    );
    check("FROM a\nRUN b \\\n# a comment\n  c\n", "");
}

#[test]
fn names_that_sound_like_secrets() {
    check(
        "FROM a\nARG SECRET_PHRASE\nENV db_Password=x token=y\n",
        "SecretsUsedInArgOrEnv 2:5 \"SECRET_PHRASE\"\n\
         SecretsUsedInArgOrEnv 3:5 \"db_Password\"\n\
         SecretsUsedInArgOrEnv 3:19 \"token\"",
    );
    check(
        "ARG TOKEN\nFROM a\nARG MONKEY PUBLIC_KEY\nENV PASSWORD_FILE=/x TOKENS=3 KEY_VERSION=1\n",
        "",
    );
}

#[test]
fn only_the_last_counts() {
    check(
        "FROM a\nCMD [\"a\"]\nCMD [\"b\"]\nENTRYPOINT [\"c\"]\nCMD [\"d\"]\n",
        "MultipleInstructionsDisallowed 2:1 \"CMD\"\nMultipleInstructionsDisallowed 3:1 \"CMD\"",
    );
    check("FROM a\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]\n", "");
    check(
        "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n",
        r#"MultipleInstructionsDisallowed 2:1 "HEALTHCHECK""#,
    );
}

#[test]
fn descriptions_are_checked_where_that_is_asked_for() {
    let on = "# check=experimental=InvalidDefinitionDescription\n";
    check("# anything\nFROM a AS b\n", "");
    for good in [
        "# foo is it\nARG foo=bar\nFROM a\n",
        "# b is the base\nFROM a AS b\n",
        "# two is one of them\nFROM a\nARG one two\n",
        "# nothing\n#\nFROM a AS b\n",
        "# nothing\n\nFROM a AS b\n",
        "# nothing\nFROM a\n# nothing\nCOPY a /\n",
    ] {
        check(&format!("{on}{good}"), "");
    }
    check(
        &format!("{on}# B is the base\nFROM a AS b\n# nothing\nARG one two\n"),
        "InvalidDefinitionDescription 2:1 \"# B is the base\"\n\
         InvalidDefinitionDescription 4:1 \"# nothing\"",
    );
}

#[test]
fn settings_skip_and_enable() {
    let two = "FROM a as b\nMAINTAINER me\n";
    let both = "FromAsCasing 2:8 \"as\"\nMaintainerDeprecated 3:1 \"MAINTAINER\"";
    let one = r#"MaintainerDeprecated 3:1 "MAINTAINER""#;
    let checked = |settings: &str, expected: &str| {
        check(&format!("# check={settings}\n{two}"), expected);
    };
    checked("error=true", both);
    checked("skip=all", "");
    checked("skip=FromAsCasing", one);
    checked("skip = fromascasing , ; error=false", one);
    checked("skip=FromAsCasing,MaintainerDeprecated;error=1", "");
    checked(
        "skip=FromAsCase,all;error=true",
        "no rule 1:14 \"FromAsCase\"\nno rule 1:25 \"all\"\nFromAsCasing 2:8 \"as\"\n\
         MaintainerDeprecated 3:1 \"MAINTAINER\"",
    );
    checked("skp=all", &format!("no rule 1:9 \"skp\"\n{both}"));
    checked(
        "skip=all;error=maybe",
        &format!("no rule 1:24 \"maybe\"\n{both}"),
    );
    checked("skip", &format!("no rule 1:9 \"skip\"\n{both}"));
}

#[test]
fn a_comment_skips_for_one_instruction() {
    check(
        "FROM a\n# check=skip=MaintainerDeprecated because of history\nMAINTAINER me\n",
        "",
    );
    check("# check=skip=all\n\nFROM a\nMAINTAINER me\n", "");
    check(
        "FROM a\n# check=skip=all\nENV a b\nENV c d\n",
        r#"LegacyKeyValueFormat 4:5 "c d""#,
    );
    check(
        "FROM a\n# check=skip=all\n\nENV a b\n",
        r#"LegacyKeyValueFormat 4:5 "a b""#,
    );
}
