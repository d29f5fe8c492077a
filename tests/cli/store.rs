//! `kiln store`: listing, measuring, checking and emptying a store that is made for the test.

use super::{Environment, check, check_in};

#[test]
fn a_new_store_is_empty_and_whole() {
    let environment = Environment::new();
    check_in(&environment, &["store", "--store", "s", "ls"], "exit 0\n");
    let said = environment.run(&["store", "--store", "s", "verify"]);
    assert!(said.starts_with("exit 0\nstdout:\n"), "{said}");
    assert!(said.contains(", 0 damaged"), "{said}");
    let said = environment.run(&["store", "--store", "s", "du"]);
    assert!(said.contains("\ntotal "), "{said}");
}

#[test]
fn a_directory_with_other_things_is_not_taken() {
    let environment = Environment::new();
    environment.write("s/precious.txt", "do not touch");
    let said = environment.run(&["store", "--store", "s", "ls"]);
    assert!(said.starts_with("exit 2\nstderr:\nerror: "), "{said}");
    assert!(said.contains("neither a kiln store nor empty"), "{said}");
}

#[test]
fn options_are_checked() {
    check(
        &["store", "prune", "--older-than", "7x"],
        "exit 2
stderr:
error: invalid value '7x' for '--older-than <TIME>': expected a number and s, m, h or d, such as 12h

For more information, try '--help'.
",
    );
}
