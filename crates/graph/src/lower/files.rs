//! The instructions that change files: each becomes a step that holds all it needs.

use dockerfile::chmod::ModeChange;
use dockerfile::chown::Owner;
use dockerfile::{
    AddInstruction, CommandForm, CopyInstruction, RunInstruction, Span, Spanned, expand_heredoc,
};

use super::{Line, Lowerer, State, base_name};
use crate::stage::{CopyFrom, expand_error};
use crate::{
    Chmod, CopySource, CopyStep, InlineFile, Network, RunStep, Step, StepId, StepKind, Variable,
    WorkdirStep, paths,
};

/// Build arguments that every RUN gets without a declaration (A8), in either case.
pub(super) const PROXY_NAMES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The longest summary of a here-document in a title, in characters.
const SUMMARY_CHARS_MAX: usize = 80;

/// A COPY or ADD with its words expanded.
struct Copied {
    keyword: &'static str,
    sources: Vec<CopySource>,
    /// The sources as history shows them.
    shown: Vec<String>,
    unpack: bool,
}

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
            files,
        } = run;
        let mut supported = Some(());
        for flag in mounts {
            supported = self.not_yet(line, flag.span, "RUN --mount");
        }
        for flag in devices {
            supported = self.not_yet(line, flag.span, "RUN --device");
        }
        if let Some(flag) = security {
            supported = self.not_yet(line, flag.span, "RUN --security");
        }
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
        supported?;
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
            cwd: working_directory(state),
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
            command_shown: arguments.clone(),
        };
        let text = match lone_heredoc(line, run) {
            Some(content) => format!("RUN {arguments} ({})", summary(&content)),
            None => format!("RUN {arguments}"),
        };
        let step = self.step(state, line, StepKind::Run(step), &text);
        state.record(history, Some(step));
        Some(())
    }

    pub(super) fn workdir(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        word: &Spanned<String>,
    ) -> Option<()> {
        let written = self.expand(state, line, word)?;
        if written.is_empty() {
            return self.error(line, word.span, "WORKDIR names no directory", "empty");
        }
        let path = paths::absolute(&working_directory(state), &written);
        path.clone_into(&mut state.container().working_dir);
        let history = format!("WORKDIR {path}");
        if path == "/" {
            state.record(history, None);
            return Some(());
        }
        let step = WorkdirStep {
            path,
            user: state.config.config.user.clone(),
        };
        let text = format!("WORKDIR {}", line.planned.instruction.arguments.value);
        let step = self.step(state, line, StepKind::Workdir(step), &text);
        state.record(history, Some(step));
        Some(())
    }

    pub(super) fn add(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        add: &AddInstruction,
    ) -> Option<()> {
        let AddInstruction {
            chown,
            chmod,
            link,
            excludes,
            checksum,
            keep_git_dir,
            unpack,
            sources,
            destination,
        } = add;
        let mut supported = self.shared_flags(line, *link, excludes);
        if let Some(flag) = checksum {
            supported = self.not_yet(line, flag.span, "ADD --checksum");
        }
        if keep_git_dir.is_some() {
            let span = flag_span(line, "--keep-git-dir");
            supported = self.not_yet(line, span, "ADD --keep-git-dir");
        }
        let (sources, shown) = self.sources(state, line, "ADD", None, sources)?;
        supported?;
        let copied = Copied {
            keyword: "ADD",
            sources,
            shown,
            unpack: unpack.unwrap_or(true),
        };
        self.copied(
            state,
            line,
            copied,
            chown.as_ref(),
            chmod.as_ref(),
            destination,
        )
    }

    pub(super) fn copy(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        copy: &CopyInstruction,
    ) -> Option<()> {
        let CopyInstruction {
            // Already understood when the stages were found.
            from: _,
            chown,
            chmod,
            link,
            parents,
            excludes,
            sources,
            destination,
        } = copy;
        let mut supported = self.shared_flags(line, *link, excludes);
        if *parents {
            let span = flag_span(line, "--parents");
            supported = self.not_yet(line, span, "COPY --parents");
        }
        let from = line.planned.copy_from.map(|from| match from {
            CopyFrom::Stage(earlier) => self.states[earlier].step,
            CopyFrom::Image(image) => self.copied_image(image),
        });
        let (sources, shown) = self.sources(state, line, "COPY", from, sources)?;
        supported?;
        let copied = Copied {
            keyword: "COPY",
            sources,
            shown,
            unpack: false,
        };
        self.copied(
            state,
            line,
            copied,
            chown.as_ref(),
            chmod.as_ref(),
            destination,
        )
    }

    fn shared_flags(
        &mut self,
        line: Line<'_>,
        link: bool,
        excludes: &[Spanned<String>],
    ) -> Option<()> {
        let keyword = line.planned.instruction.keyword.value.name();
        let mut supported = Some(());
        if link {
            let span = flag_span(line, "--link");
            supported = self.not_yet(line, span, &format!("{keyword} --link"));
        }
        for flag in excludes {
            supported = self.not_yet(line, flag.span, &format!("{keyword} --exclude"));
        }
        supported
    }

    fn copied(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        copied: Copied,
        chown: Option<&Spanned<String>>,
        chmod: Option<&Spanned<String>>,
        destination: &Spanned<String>,
    ) -> Option<()> {
        let Copied {
            keyword,
            sources,
            shown,
            unpack,
        } = copied;
        let mut history = String::from(keyword);
        let mut owner = None;
        if let Some(word) = chown {
            let text = self.expand(state, line, word)?;
            // An empty variable means that no owner was asked for.
            if !text.is_empty() {
                match Owner::parse(&text) {
                    Ok(known) => owner = Some(known),
                    Err(error) => {
                        return self.error(line, word.span, error.to_string(), "not an owner");
                    }
                }
                history.push_str(&format!(" --chown={text}"));
            }
        }
        let mut mode = None;
        if let Some(word) = chmod {
            let text = self.expand(state, line, word)?;
            if !text.is_empty() {
                history.push_str(&format!(" --chmod={text}"));
                match ModeChange::parse(&text) {
                    Ok(change) => mode = Some(Chmod { text, change }),
                    Err(error) => {
                        return self.error(line, word.span, error.to_string(), "not a mode");
                    }
                }
            }
        }
        let written = self.expand(state, line, destination)?;
        for source in &shown {
            history.push_str(&format!(" {source}"));
        }
        history.push_str(&format!(" {written} # buildkit"));
        let step = CopyStep {
            sources,
            destination: paths::absolute(&working_directory(state), &written),
            destination_is_directory: paths::names_directory(&written),
            chown: owner,
            chmod: mode,
            unpack,
        };
        let text = format!("{keyword} {}", line.planned.instruction.arguments.value);
        let step = self.step(state, line, StepKind::Copy(step), &text);
        state.record(history, Some(step));
        Some(())
    }

    /// The sources and how history shows them: paths first and here-documents behind them, which
    /// is also the order of copying.
    fn sources(
        &mut self,
        state: &State,
        line: Line<'_>,
        keyword: &str,
        from: Option<StepId>,
        sources: &[dockerfile::CopySource],
    ) -> Option<(Vec<CopySource>, Vec<String>)> {
        let (mut lowered, mut shown) = (Vec::new(), Vec::new());
        let (mut inline, mut inline_shown) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                dockerfile::CopySource::Path(word) => {
                    let path = self.expand(state, line, word)?;
                    if is_remote(&path) {
                        return if keyword == "ADD" {
                            self.not_yet(line, word.span, "remote sources")
                        } else {
                            let message = "COPY takes files, not addresses";
                            self.error(line, word.span, message, "an address")
                        };
                    }
                    let pattern = paths::relative(&path);
                    let span = line.planned.place(word.span);
                    lowered.push(match from {
                        Some(step) => CopySource::Step {
                            step,
                            pattern,
                            span,
                        },
                        None => CopySource::Context { pattern, span },
                    });
                    shown.push(path);
                }
                dockerfile::CopySource::Inline(file) => {
                    let file = self.inline(state, line, file)?;
                    inline_shown.push(format!("<<{}", file.name));
                    inline.push(CopySource::Inline(file));
                }
            }
        }
        lowered.append(&mut inline);
        shown.append(&mut inline_shown);
        Some((lowered, shown))
    }

    fn inline(
        &mut self,
        state: &State,
        line: Line<'_>,
        file: &dockerfile::InlineFile,
    ) -> Option<InlineFile> {
        let dockerfile::InlineFile {
            name,
            content,
            expand,
        } = file;
        if name.value.contains('/') || name.value == "." || name.value == ".." {
            let message = format!("`{}` cannot be the name of a file", name.value);
            return self.error(line, name.span, message, "not a file name");
        }
        let content = if *expand {
            match expand_heredoc(content, &state.scope) {
                Ok(expansion) => {
                    self.warn_of_unset(state, line, name.span, &expansion.unset);
                    expansion.value
                }
                Err(error) => {
                    let mut finding = expand_error(name, &error);
                    finding.span = name.span;
                    self.findings.push(line.planned.put(finding));
                    return None;
                }
            }
        } else {
            content.clone()
        };
        Some(InlineFile {
            name: name.value.clone(),
            content,
        })
    }

    /// The base step of an image that is only copied from: one for all its copies.
    fn copied_image(&mut self, image: usize) -> StepId {
        if let Some(step) = self.copied_images.get(&image) {
            return *step;
        }
        let named = &self.set.images[image];
        let title = format!("FROM {}", base_name(&named.image));
        let stage = named.image.reference.familiar();
        let step = self.push(
            StepKind::Base(Box::new(named.image.clone())),
            named.span,
            title,
            stage,
        );
        self.copied_images.insert(image, step);
        step
    }

    fn step(&mut self, state: &mut State, line: Line<'_>, kind: StepKind, text: &str) -> StepId {
        let text = match line.planned.origin {
            crate::Origin::Dockerfile => text.to_owned(),
            crate::Origin::Onbuild { .. } => format!("ONBUILD {text}"),
        };
        let title = self.title(state, line.stage, &text);
        let elsewhere = line.planned.elsewhere.map(|_| line.stage.span);
        let step = self.add_step(Step {
            kind,
            parent: Some(state.step),
            span: elsewhere.unwrap_or(line.planned.instruction.span),
            origin: line.planned.origin.clone(),
            title,
            stage: line.stage.shown.clone(),
        });
        state.step = step;
        step
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

fn working_directory(state: &State) -> String {
    match state.config.config.working_dir.as_str() {
        "" => "/".to_owned(),
        directory => directory.to_owned(),
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

/// The place of a flag that takes no value, in a line without continuations; else the whole line.
fn flag_span(line: Line<'_>, flag: &str) -> Span {
    let instruction = &line.planned.instruction;
    let Spanned { value, span } = &instruction.arguments;
    match value.find(flag) {
        Some(at) if value.len() == span.len() => {
            Span::new(span.start + at, span.start + at + flag.len())
        }
        Some(_) | None => instruction.span,
    }
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

/// Addresses that ADD would fetch: `scheme://…`, or `user@host:path` as git understands it.
fn is_remote(source: &str) -> bool {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    if let Some(scheme) = scheme {
        let known = ["http", "https", "git", "ssh", "ftp", "ftps"];
        return known.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    }
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match source.split_once('@') {
        Some((user, rest)) => rest
            .split_once(':')
            .is_some_and(|(host, path)| word(user) && word(host) && !path.is_empty()),
        None => false,
    }
}
