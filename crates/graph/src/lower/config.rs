//! The instructions that only describe the image: each changes the configuration and leaves a
//! line of history without a layer.

use dockerfile::{
    ArgDeclaration, CommandForm, Diagnostic, Healthcheck, HealthcheckCommand, Pairs, Rule, Spanned,
    expand_words, expose, signal,
};
use oci::{Empty, HealthcheckConfig};

use super::{Line, Lowerer, State, render};
use crate::build_arguments::is_for_the_scanner;
use crate::stage::expand_error;

/// What wraps a shell form when no SHELL does (I3).
const SHELL_DEFAULT: [&str; 2] = ["/bin/sh", "-c"];

impl State {
    /// The words of a command: a shell form behind SHELL, an exec form as it is.
    pub(super) fn command_words(&self, command: &CommandForm) -> Vec<String> {
        match command {
            CommandForm::Exec(words) => words.iter().map(|word| word.value.clone()).collect(),
            CommandForm::Shell(text) => {
                let shell = self
                    .config
                    .config
                    .shell
                    .as_ref()
                    .filter(|words| !words.is_empty());
                let shell = match shell {
                    Some(words) => words.clone(),
                    None => SHELL_DEFAULT.map(str::to_owned).to_vec(),
                };
                shell.into_iter().chain([text.value.clone()]).collect()
            }
        }
    }
}

impl Lowerer<'_> {
    /// A3, A4: a build argument wins, and then the default is not even looked at.
    pub(super) fn arg(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        declarations: &[ArgDeclaration],
    ) -> Option<()> {
        let mut values = Vec::new();
        for ArgDeclaration { name, default } in declarations {
            let name = &name.value;
            if !self.declared.contains(name) {
                self.declared.push(name.clone());
            }
            values.push(match (self.request.argument(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(self.expand(state, line, default)?),
                (None, None) => self.set.source.globals.value(name).map(str::to_owned),
            });
        }
        let mut shown = Vec::new();
        for (ArgDeclaration { name, .. }, value) in declarations.iter().zip(values) {
            let name = &name.value;
            match &value {
                Some(value) => {
                    if !is_for_the_scanner(name) {
                        state.scope.set(name, value);
                    }
                    shown.push(format!("{name}={value}"));
                }
                // Unset is not empty: RUN does not see it (A2).
                None => shown.push(name.clone()),
            }
            state.arguments.push((name.clone(), value));
        }
        state.record(format!("ARG {}", shown.join(" ")), None);
        Some(())
    }

    pub(super) fn env(&mut self, state: &mut State, line: Line<'_>, pairs: &Pairs) -> Option<()> {
        let pairs = self.pairs(state, line, pairs)?;
        let mut shown = String::from("ENV");
        for (name, value) in pairs {
            if name.value.is_empty() || name.value.contains('=') {
                let message = match name.value.as_str() {
                    "" => "the name of a variable is empty".to_owned(),
                    name => format!("`{name}` cannot be the name of a variable"),
                };
                return self.error(line, name.span, message, "not a name");
            }
            let name = name.value;
            state.scope.set(&name, &value);
            state.container().set_variable(&name, &value);
            shown.push_str(&format!(" {name}={value}"));
        }
        state.record(shown, None);
        Some(())
    }

    pub(super) fn label(&mut self, state: &mut State, line: Line<'_>, pairs: &Pairs) -> Option<()> {
        let pairs = self.pairs(state, line, pairs)?;
        let mut shown = String::from("LABEL");
        for (key, value) in pairs {
            if key.value.is_empty() {
                return self.error(line, key.span, "a label needs a name", "empty");
            }
            shown.push_str(&format!(" {}={value}", key.value));
            state.own_labels.insert(key.value.clone());
            state.container().labels.insert(key.value, value);
        }
        state.record(shown, None);
        Some(())
    }

    /// Keys and values, all expanded with what was there before the instruction (V11).
    fn pairs(
        &mut self,
        state: &State,
        line: Line<'_>,
        pairs: &Pairs,
    ) -> Option<Vec<(Spanned<String>, String)>> {
        let expanded = pairs.pairs.iter().map(|pair| {
            let key = self.expand(state, line, &pair.key)?;
            let value = self.expand(state, line, &pair.value)?;
            Some((Spanned::new(key, pair.key.span), value))
        });
        expanded.collect()
    }

    pub(super) fn cmd(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        command: &CommandForm,
    ) -> Option<()> {
        self.recommend_json(state, line, command);
        let words = state.command_words(command);
        state.record(format!("CMD {}", render::quoted_list(&words)), None);
        state.sets_command = true;
        state.container().cmd = unless_empty(words);
        state.container().args_escaped = true;
        Some(())
    }

    /// An inherited CMD was meant for another program (I1).
    pub(super) fn entrypoint(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        command: &CommandForm,
    ) -> Option<()> {
        self.recommend_json(state, line, command);
        let words = state.command_words(command);
        state.record(format!("ENTRYPOINT {}", render::quoted_list(&words)), None);
        if !state.sets_command {
            state.container().cmd = None;
        }
        state.container().entrypoint = unless_empty(words);
        Some(())
    }

    /// Where SHELL was set somebody chose the shell, and knows what it does with signals.
    fn recommend_json(&mut self, state: &State, line: Line<'_>, command: &CommandForm) {
        let shell = state.config.config.shell.as_deref().unwrap_or(&[]);
        let (CommandForm::Shell(text), []) = (command, shell) else {
            return;
        };
        let keyword = line.planned.instruction.keyword.value;
        let message = format!("{keyword} is run by a shell, which passes no signals on");
        let finding = Diagnostic::warning(text.span, message, "not a JSON array")
            .of_rule(Rule::JSONArgsRecommended);
        // What a shell would only split at blanks is the same as an array.
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric() || " -_./:=,@+%".contains(character)
        };
        let finding = if text.value.chars().all(is_plain) && !text.value.contains("=") {
            let words: Vec<String> = text
                .value
                .split_whitespace()
                .map(|word| format!("\"{word}\""))
                .collect();
            finding.with_help(format!("write `{keyword} [{}]`", words.join(", ")))
        } else {
            finding.with_help("put the program and its arguments into an array, or set SHELL")
        };
        self.findings.push(line.planned.put(finding));
    }

    pub(super) fn expose(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        words: &[Spanned<String>],
    ) -> Option<()> {
        // Sorted as written, before variables are replaced (I5).
        let mut sorted: Vec<&Spanned<String>> = words.iter().collect();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        let mut shown = Vec::new();
        for raw in sorted {
            let (words, unset) =
                match expand_words(&raw.value, self.set.source.escape, &state.scope) {
                    Ok((words, expansion)) => (words, expansion.unset),
                    Err(error) => {
                        self.findings
                            .push(line.planned.put(expand_error(raw, &error)));
                        return None;
                    }
                };
            self.warn_of_unset(state, line, raw.span, &unset);
            for word in words {
                let exposed = match expose::parse(&word) {
                    Ok(exposed) => exposed,
                    Err(error) => {
                        return self.error(line, raw.span, error.to_string(), "cannot be exposed");
                    }
                };
                if exposed.names_host {
                    let message = format!("an image cannot say where `{word}` is on a host");
                    let port = word.rsplit(':').next().unwrap_or(&word);
                    let finding = Diagnostic::warning(raw.span, message, "only the port counts")
                        .with_help(format!("write `{port}`"))
                        .of_rule(Rule::ExposeInvalidFormat);
                    self.findings.push(line.planned.put(finding));
                }
                let protocol = word.split_once('/').map_or("", |(_, protocol)| protocol);
                if protocol.contains(|letter: char| letter.is_ascii_uppercase()) {
                    let message = format!("the protocol of `{word}` has capitals");
                    let finding = Diagnostic::warning(raw.span, message, "not in small letters")
                        .with_help(format!("write `{}`", word.to_ascii_lowercase()))
                        .of_rule(Rule::ExposeProtoCasing);
                    self.findings.push(line.planned.put(finding));
                }
                for port in exposed.ports {
                    shown.push(port.to_string());
                    state
                        .container()
                        .exposed_ports
                        .insert(port.to_string(), Empty {});
                }
            }
        }
        state.record(format!("EXPOSE {}", render::plain_list(&shown)), None);
        Some(())
    }

    pub(super) fn healthcheck(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        check: &Healthcheck,
    ) -> Option<()> {
        let config = match check {
            Healthcheck::None => HealthcheckConfig {
                test: vec!["NONE".to_owned()],
                ..HealthcheckConfig::default()
            },
            Healthcheck::Check(HealthcheckCommand {
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
                command,
            }) => {
                // The text is run by the container's own shell, whatever SHELL says (I4).
                let test = match command {
                    CommandForm::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                    CommandForm::Exec(words) => std::iter::once("CMD")
                        .chain(words.iter().map(|word| word.value.as_str()))
                        .map(str::to_owned)
                        .collect(),
                };
                HealthcheckConfig {
                    test,
                    interval: self.nanoseconds(line, interval.as_ref())?,
                    timeout: self.nanoseconds(line, timeout.as_ref())?,
                    start_period: self.nanoseconds(line, start_period.as_ref())?,
                    start_interval: self.nanoseconds(line, start_interval.as_ref())?,
                    retries: retries
                        .as_ref()
                        .map_or(0, |retries| i64::from(retries.value)),
                }
            }
        };
        state.record(
            format!("HEALTHCHECK {}", render::healthcheck(&config)),
            None,
        );
        state.container().healthcheck = Some(config);
        Some(())
    }

    fn nanoseconds(&mut self, line: Line<'_>, flag: Option<&Spanned<u64>>) -> Option<i64> {
        let Some(flag) = flag else {
            return Some(0);
        };
        match i64::try_from(flag.value) {
            Ok(nanoseconds) => Some(nanoseconds),
            Err(_) => self.error(line, flag.span, "the duration is too long", "too long"),
        }
    }

    pub(super) fn maintainer(&mut self, state: &mut State, author: &Spanned<String>) -> Option<()> {
        state.config.author = Some(author.value.clone());
        state.record(format!("MAINTAINER {}", author.value), None);
        Some(())
    }

    pub(super) fn shell(&mut self, state: &mut State, words: &[Spanned<String>]) -> Option<()> {
        let words: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        state.record(format!("SHELL {}", render::plain_list(&words)), None);
        state.container().shell = Some(words);
        Some(())
    }

    pub(super) fn stop_signal(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        word: &Spanned<String>,
    ) -> Option<()> {
        let value = self.expand(state, line, word)?;
        if let Err(error) = signal::validate(&value) {
            return self.error(line, word.span, error.to_string(), "not a signal");
        }
        state.record(format!("STOPSIGNAL {value}"), None);
        state.container().stop_signal = value;
        Some(())
    }

    pub(super) fn user(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        word: &Spanned<String>,
    ) -> Option<()> {
        let user = self.expand(state, line, word)?;
        if user.is_empty() {
            return self.error(line, word.span, "USER names nobody", "empty");
        }
        state.record(format!("USER {user}"), None);
        state.container().user = user;
        Some(())
    }

    pub(super) fn volume(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        words: &[Spanned<String>],
    ) -> Option<()> {
        let mut volumes = Vec::new();
        for word in words {
            let volume = self.expand(state, line, word)?;
            if volume.is_empty() {
                return self.error(line, word.span, "VOLUME names no directory", "empty");
            }
            volumes.push(volume);
        }
        state.record(format!("VOLUME {}", render::plain_list(&volumes)), None);
        let known = &mut state.container().volumes;
        known.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        Some(())
    }
}

/// `[]` takes back what the base says (I2): in the configuration that is the absence of a list.
fn unless_empty(words: Vec<String>) -> Option<Vec<String>> {
    (!words.is_empty()).then_some(words)
}
