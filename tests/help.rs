//! The help of every verb shows how it is used, with flags that it has.

use std::process::Command;

/// What `kiln WORDS --help` prints.
fn help(words: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(words)
        .arg("--help")
        .env_clear()
        .output()
        .expect("kiln starts");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The verbs below this one.
fn below(text: &str) -> Vec<&str> {
    let section = text.split_once("\nCommands:\n").map(|(_, rest)| rest);
    let lines = section.unwrap_or_default().lines();
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect()
}

/// Commands of kiln in a line of a shell, as words.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let parts = line.split(['|', ';', '&', '(', ')']);
    let words = parts.map(|part| part.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.first() == Some(&"kiln"))
        .collect()
}

/// What is wrong with the help of a verb and of all below it. `seen` counts them.
fn faults(words: &mut Vec<String>, seen: &mut usize, found: &mut Vec<String>) {
    let text = help(words);
    *seen += 1;
    let name = format!("kiln {}", words.join(" "));
    let examples = text.split_once("\nExamples:\n").map(|(_, rest)| rest);
    let own = |command: &Vec<&str>| command[1..].iter().zip(&*words).all(|(a, b)| a == b);
    let examples: Vec<Vec<&str>> = examples
        .unwrap_or_default()
        .lines()
        .flat_map(commands)
        .collect();
    if !words.is_empty() && !examples.iter().any(own) {
        found.push(format!("{name} --help shows no example of itself"));
    }
    for example in examples.iter().filter(|example| own(example)) {
        let verb = example[1..].iter().take_while(|word| is_verb(word));
        let verb: Vec<String> = verb.map(|word| (*word).to_owned()).collect();
        let known = match below(&text).is_empty() {
            true => text.clone(),
            false => help(&verb[..verb.len().min(words.len() + 1)]),
        };
        for word in example.iter().filter(|word| word.starts_with("--")) {
            let flag = word.split('=').next().unwrap_or(word);
            let there =
                known.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
            if !there.clone().any(|other| other == flag) {
                found.push(format!(
                    "{name} --help: {} has no {flag}",
                    example.join(" ")
                ));
            }
        }
    }
    for verb in below(&text) {
        words.push(verb.to_owned());
        faults(words, seen, found);
        words.pop();
    }
}

fn is_verb(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

#[test]
fn every_verb_shows_an_example_of_itself() {
    let (mut seen, mut found) = (0, Vec::new());
    faults(&mut Vec::new(), &mut seen, &mut found);
    assert!(seen > 40, "only {seen} verbs were found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
