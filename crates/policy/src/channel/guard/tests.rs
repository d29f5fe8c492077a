//! Each rule with facts under which it holds, and one fact that is otherwise.

use super::*;

/// Facts under which every rule of [`RULES`] holds.
fn good() -> ChannelFacts {
    ChannelFacts {
        source: Some(SourceFacts {
            commit: "abc".into(),
            dirty: false,
            branch: Some("main".into()),
            remote_branches: vec!["main".into(), "old".into()],
        }),
        identity: Some(Identity {
            issuer: "https://ci.example".into(),
            subject: "repo:org/app:ref:refs/heads/main".into(),
            commit: Some("abc".into()),
            is_known_ci: true,
        }),
        identity_missing: None,
        left_out: Vec::new(),
        signatures: Signatures::Checked {
            unsigned: Vec::new(),
        },
        ancestry: Ancestry::Descendant,
        tests: BTreeMap::from([("make test".to_owned(), TestOutcome::Passed)]),
    }
}

const RULES: &[&str] = &[
    "clean",
    "branch:main",
    "all-images",
    "ci",
    "ci:https://ci.example",
    "signed",
    "not-older",
    "identity:repo:org/app:*",
    "tests:make test",
];

/// Which of the rules do not hold, each with what was found.
fn unmet(rules: &[&str], facts: &ChannelFacts) -> Vec<(String, String)> {
    let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let stable = "stable".parse().unwrap();
    match admit(&stable, true, &rules, facts, None) {
        Ok(Passage::Open) => Vec::new(),
        Err(Refusal::Rules { unmet, .. }) => {
            assert!(unmet.iter().all(|unmet| !unmet.remedy.is_empty()));
            let pairs = unmet.into_iter().map(|unmet| (unmet.rule, unmet.found));
            pairs.collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Changes one fact, and says which rules no longer hold.
fn check(change: impl FnOnce(&mut ChannelFacts), expected: &[(&str, &str)]) {
    let mut facts = good();
    change(&mut facts);
    let found = unmet(RULES, &facts);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(rule, found)| (rule.as_str(), found.as_str()))
        .collect();
    assert_eq!(found, expected);
}

fn source(facts: &mut ChannelFacts) -> &mut SourceFacts {
    facts.source.as_mut().unwrap()
}

fn identity(facts: &mut ChannelFacts) -> &mut Identity {
    facts.identity.as_mut().unwrap()
}

#[test]
fn each_rule_looks_at_its_own_fact() {
    check(|_| {}, &[]);
    check(
        |facts| source(facts).dirty = true,
        &[("clean", "there are changes that are not committed")],
    );
    check(
        |facts| source(facts).branch = Some("feature".into()),
        &[("branch:main", "the branch is `feature`")],
    );
    check(
        |facts| source(facts).remote_branches.clear(),
        &[(
            "branch:main",
            "the commit is not in the remote's `main`, as far as was fetched",
        )],
    );
    // A job of a CI system has no branch checked out.
    check(|facts| source(facts).branch = None, &[]);
    check(
        |facts| {
            source(facts).branch = None;
            source(facts).remote_branches = vec!["feature".into()];
        },
        &[(
            "branch:main",
            "HEAD is detached, and its commit is in no such branch of a remote",
        )],
    );
    check(
        |facts| facts.left_out = (0..8).map(|at| format!("i{at}")).collect(),
        &[("all-images", "left out: i0, i1, i2, i3, i4, i5 and 2 more")],
    );
    check(
        |facts| {
            facts.signatures = Signatures::Checked {
                unsigned: vec!["epp".into()],
            };
        },
        &[("signed", "not signed by anybody who is trusted: epp")],
    );
    check(
        |facts| facts.signatures = Signatures::NobodyTrusted,
        &[("signed", "nothing says whose signatures count")],
    );
    check(
        |facts| facts.signatures = Signatures::Unknown,
        &[("signed", "nobody has looked for signatures")],
    );
    check(|facts| facts.ancestry = Ancestry::First, &[]);
    check(
        |facts| {
            facts.ancestry = Ancestry::NotDescendant {
                current: "def".into(),
            };
        },
        &[("not-older", "the channel has def, which is not an ancestor")],
    );
    check(
        |facts| {
            facts.ancestry = Ancestry::Unknown {
                reason: "the clone is shallow".into(),
            };
        },
        &[("not-older", "the clone is shallow")],
    );
    check(
        |facts| facts.tests.clear(),
        &[("tests:make test", "the command was not run")],
    );
    check(
        |facts| {
            let failed = TestOutcome::Failed {
                reason: "it ended with 2".into(),
            };
            facts.tests.insert("make test".into(), failed);
        },
        &[("tests:make test", "it ended with 2")],
    );
}

#[test]
fn an_identity_is_what_was_verified() {
    let nobody = "nobody's identity is verified: no token";
    check(
        |facts| {
            facts.identity = None;
            facts.identity_missing = Some("no token".into());
        },
        &[
            ("ci", nobody),
            ("ci:https://ci.example", nobody),
            ("identity:repo:org/app:*", nobody),
        ],
    );
    check(
        |facts| identity(facts).is_known_ci = false,
        &[("ci", "the identity token is of `https://ci.example`")],
    );
    let other = "the identity token is for the commit def, the sources are of abc";
    check(
        |facts| identity(facts).commit = Some("def".into()),
        &[("ci", other), ("ci:https://ci.example", other)],
    );
    let none = "the identity token is for the commit (none), the sources are of abc";
    check(
        |facts| identity(facts).commit = None,
        &[("ci", none), ("ci:https://ci.example", none)],
    );
    check(
        |facts| identity(facts).subject = "repo:evil/app:x".into(),
        &[(
            "identity:repo:org/app:*",
            "the verified identity is `repo:evil/app:x`",
        )],
    );
    // Two things that are not known are not the same thing.
    let unknown = "it is not known which commit this is";
    let neither = "the identity token is for the commit (none), the sources are of (unknown)";
    check(
        |facts| {
            facts.source = None;
            identity(facts).commit = None;
        },
        &[
            ("clean", unknown),
            ("branch:main", unknown),
            ("ci", neither),
            ("ci:https://ci.example", neither),
        ],
    );
}

#[test]
fn a_protected_channel_wants_all_images_even_without_a_rule() {
    let facts = ChannelFacts {
        left_out: vec!["epp (debug)".into()],
        ..good()
    };
    let expected = ("all-images".to_owned(), "left out: epp (debug)".to_owned());
    assert_eq!(unmet(&["clean"], &facts), [expected]);
}

#[test]
fn an_override_spells_the_name() {
    let stable: ChannelName = "stable".parse().unwrap();
    let rules = [Rule::Clean];
    let mut dirty = good();
    source(&mut dirty).dirty = true;
    let admit = |is_protected, facts: &ChannelFacts, spelled| {
        admit(&stable, is_protected, &rules, facts, spelled)
    };
    assert_eq!(admit(false, &dirty, None), Ok(Passage::Open));
    assert!(matches!(
        admit(true, &dirty, Some("stable")),
        Ok(Passage::Forced { unmet }) if unmet.len() == 1
    ));
    // What holds needs no override, and none is noted.
    assert_eq!(admit(true, &good(), Some("stable")), Ok(Passage::Open));
    for wrong in ["Stable", "stable ", "", "true", "kevin"] {
        // Even where nothing has to be overridden: the command was meant for something else.
        for (is_protected, facts) in [(true, &dirty), (true, &good()), (false, &good())] {
            assert!(matches!(
                admit(is_protected, facts, Some(wrong)),
                Err(Refusal::Misspelled { .. })
            ));
        }
    }
}
