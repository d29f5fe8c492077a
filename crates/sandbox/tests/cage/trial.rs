//! Finding out what works, and saying what is missing.

use std::fs;

use crate::cage::{Cage, Caller, for_each_caller};

fn said(cage: &Cage, words: &[&str]) -> String {
    let output = cage
        .start(words)
        .wait_with_output()
        .expect("the helper ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_trial_finds_the_rung_and_leaves_nothing() {
    for_each_caller(|cage| {
        let directory = cage.outside("disk");
        let directory = directory.to_str().expect("UTF-8");
        let expected = match cage.caller {
            Caller::Root => "root\n",
            Caller::User => "user-namespace\n",
        };
        assert_eq!(said(&cage, &["probe", "auto", directory]), expected);
        assert_eq!(
            fs::read_dir(directory).expect("it exists").count(),
            2,
            "upper and work"
        );
    });
}

#[test]
fn a_rung_that_cannot_be_had_says_why() {
    for_each_caller(|cage| {
        let directory = cage.outside("disk");
        let directory = directory.to_str().expect("UTF-8");
        let check = |words: &[&str], expected: &str| {
            let answer = said(&cage, words);
            assert!(answer.contains(expected), "{words:?}: {answer}");
        };
        match cage.caller {
            Caller::Root => {
                check(
                    &["probe", "user-namespace", directory],
                    "uses the root sandbox",
                );
                // procfs can neither be written to nor id-mapped.
                check(&["probe", "root", "/proc"], "could not prepare a trial");
            }
            Caller::User => {
                check(
                    &["probe", "root", directory],
                    "root of a user namespace, not of the machine",
                );
            }
        }
    });
}

#[test]
fn the_program_inside_ends_like_the_one_outside() {
    for_each_caller(|cage| {
        let mut helper = cage.start(&["exit", "7"]);
        assert_eq!(helper.wait().expect("it ends").code(), Some(7));
    });
}
