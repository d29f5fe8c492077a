//! RUN: the words, environment and surroundings of a process.

use dockerfile::suggest::nearest;
use dockerfile::{CommandForm, Diagnostic, RunInstruction, Spanned};

use super::{Line, Lowerer, State};
use crate::build_arguments::PROXY_NAMES;
use crate::{Entitlement, InlineFile, Network, RunSecurity, RunStep, StepKind, Variable};

/// The build argument that names the machine that a RUN sees (R6).
const HOSTNAME_ARGUMENT: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// The longest host name, in bytes (`HOST_NAME_MAX`, limits.h).
const HOSTNAME_BYTES_MAX: usize = 64;

/// The longest summary of a here-document in a title, in characters.
const SUMMARY_CHARS_MAX: usize = 80;

impl Lowerer<'_> {
    pub(super) fn run(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        run: &RunInstruction,
    ) -> Option<()> {
        let RunInstruction {
            mounts,
            network,
            security,
            devices,
            command,
            written,
            files,
        } = run;
        let mounts = self.mounts(state, line, mounts);
        for flag in devices {
            let message = "kiln gives no devices to a RUN: it runs without a daemon that could \
                           hand them out (CDI)";
            let _: Option<()> = self.error(line, flag.span, message, "a device");
        }
        let security = self.security(line, security.as_ref());
        let hostname = self.hostname(line);
        let network = match network {
            None => self.request.network,
            Some(flag) => match flag.value.as_str() {
                "default" => self.request.network,
                "none" => Network::None,
                "host" => Network::Host,
                other => {
                    let message =
                        format!("`{other}` is not a network: expected default, none or host");
                    return self.error(line, flag.span, message, "unknown network");
                }
            },
        };
        let (mounts, security, hostname) = (mounts?, security?, hostname?);
        if !devices.is_empty() {
            return None;
        }
        let argv = state.command_words(command);
        if argv.is_empty() {
            let span = line.planned.instruction.span;
            return self.error(line, span, "RUN has no command to run", "an empty array");
        }
        let environment = state.environment();
        let texts = environment.iter().flat_map(|one| [&one.name, &one.value]);
        if argv.iter().chain(texts).any(|text| text.contains('\0')) {
            let message = "a command and its environment cannot contain NUL characters";
            return self.error(line, line.planned.instruction.span, message, "contains one");
        }
        let arguments = &line.planned.instruction.arguments.value;
        let history = format!(
            "RUN {}{} # buildkit",
            arguments_shown(state),
            argv.join(" ")
        );
        let step = RunStep {
            argv,
            hidden_env: self.proxies(&environment),
            env: environment,
            cwd: state.working_directory(),
            user: state.config.config.user.clone(),
            network,
            extra_hosts: self.request.extra_hosts.clone(),
            files: files
                .iter()
                .map(|file| InlineFile {
                    name: file.name.value.clone(),
                    content: file.content.clone(),
                })
                .collect(),
            platform: state.platform.clone(),
            mounts,
            security,
            shm_bytes: self.request.shm_bytes,
            ulimits: self.request.ulimits.clone(),
            cgroup_parent: self.request.cgroup_parent.clone(),
            hostname,
            command_shown: written.clone(),
        };
        let text = match lone_heredoc(line, run) {
            Some(content) => format!("RUN {arguments} ({})", summary(&content)),
            None => format!("RUN {arguments}"),
        };
        let step = self.step(state, line, StepKind::Run(Box::new(step)), &text);
        state.record(history, Some(step));
        Some(())
    }

    /// How much a RUN may do. More than usual only where the user allowed it.
    fn security(&mut self, line: Line<'_>, flag: Option<&Spanned<String>>) -> Option<RunSecurity> {
        let Some(flag) = flag else {
            return Some(RunSecurity::Sandbox);
        };
        let finding = match flag.value.as_str() {
            "sandbox" => return Some(RunSecurity::Sandbox),
            "insecure"
                if !self.request.runs
                    || self
                        .request
                        .allowed
                        .contains(&Entitlement::SecurityInsecure) =>
            {
                return Some(RunSecurity::Insecure);
            }
            "insecure" => {
                let message = "--security=insecure is not allowed in this build";
                Diagnostic::error(flag.span, message, "not allowed")
                    .with_help("allow it with --allow security.insecure")
            }
            other => {
                let message = format!("`{other}` is no security: expected sandbox or insecure");
                let mut finding = Diagnostic::error(flag.span, message, "unknown security");
                finding.help = nearest(other, ["sandbox", "insecure"])
                    .map(|near| format!("did you mean `{near}`?"));
                finding
            }
        };
        self.findings.push(line.planned.put(finding));
        None
    }

    /// The host name that the build argument for it asks for.
    fn hostname(&mut self, line: Line<'_>) -> Option<Option<String>> {
        let Some(name) = self.request.build_args.get(HOSTNAME_ARGUMENT) else {
            return Some(None);
        };
        let is_name = name.len() <= HOSTNAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if !is_name {
            let message = format!(
                "the build argument {HOSTNAME_ARGUMENT} is not a host name: expected at most \
                 {HOSTNAME_BYTES_MAX} letters, digits, dots and hyphens"
            );
            // The same for every RUN: said once.
            if self.findings.iter().all(|known| known.message != message) {
                let span = line.planned.instruction.span;
                return self.error(line, span, message, "would have this name");
            }
            return None;
        }
        Some((!name.is_empty()).then(|| name.clone()))
    }

    /// Proxy settings that no ARG or ENV of the stage has taken over, in both cases, because
    /// programs disagree on which they read.
    fn proxies(&self, environment: &[Variable]) -> Vec<Variable> {
        let mut proxies = Vec::new();
        for name in PROXY_NAMES {
            let given = self
                .request
                .build_args
                .iter()
                .find(|(given, _)| given.eq_ignore_ascii_case(name));
            let Some((_, value)) = given else {
                continue;
            };
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                if !environment.iter().any(|variable| variable.name == name) {
                    let value = value.clone();
                    proxies.push(Variable { name, value });
                }
            }
        }
        proxies
    }
}

/// `|2 a=1 b=2 `: the declared arguments as they are in the environment, each once (A11).
fn arguments_shown(state: &State) -> String {
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for (name, value) in &state.arguments {
        let value = state.scope.value(name).or(value.as_deref()).unwrap_or("");
        match shown.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => shown.push((name, value)),
        }
    }
    if shown.is_empty() {
        return String::new();
    }
    let words: Vec<String> = shown
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("|{} {} ", words.len(), words.join(" "))
}

/// The body of the here-document that is the whole command (H5, H6).
fn lone_heredoc(line: Line<'_>, run: &RunInstruction) -> Option<String> {
    let [heredoc] = line.planned.instruction.heredocs.as_slice() else {
        return None;
    };
    let content = heredoc.content();
    let is_command = match &run.command {
        CommandForm::Shell(text) => text.value == content,
        CommandForm::Exec(_) => false,
    };
    (is_command || !run.files.is_empty()).then_some(content)
}

/// The first line of a here-document.
fn summary(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or("");
    let mut text: String = first.chars().take(SUMMARY_CHARS_MAX).collect();
    if text.len() < first.len() || lines.next().is_some() {
        text.push_str("...");
    }
    text
}
