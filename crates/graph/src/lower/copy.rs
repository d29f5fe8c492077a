//! COPY and ADD: which files go where.

use dockerfile::chmod::ModeChange;
use dockerfile::chown::Owner;
use dockerfile::{AddInstruction, CopyInstruction, Span, Spanned, expand_heredoc};

use super::{Line, Lowerer, State, base_name};
use crate::stage::{FilesOf, expand_error};
use crate::{
    Chmod, ContextName, CopySource, CopyStep, FileSource, InlineFile, StepId, StepKind, Unpack,
    paths,
};

/// A COPY or ADD with its words expanded.
struct Copied {
    keyword: &'static str,
    sources: Vec<CopySource>,
    /// The sources as history shows them.
    shown: Vec<String>,
    unpack: Unpack,
}

impl Lowerer<'_> {
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
            unpack: match unpack {
                None => Unpack::Files,
                Some(true) => Unpack::All,
                Some(false) => Unpack::Nothing,
            },
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
        let from = line
            .planned
            .files_of
            .first()
            .map(|&from| self.files_step(from, line));
        let (sources, shown) = self.sources(state, line, "COPY", from, sources)?;
        supported?;
        let copied = Copied {
            keyword: "COPY",
            sources,
            shown,
            unpack: Unpack::Nothing,
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
            destination: paths::absolute(&state.working_directory(), &written),
            destination_is_directory: paths::names_directory(&written),
            chown: owner,
            chmod: mode,
            unpack,
            parents: false,
            excludes: Vec::new(),
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
                    let from = match from {
                        Some(step) => FileSource::Step(step),
                        None => FileSource::Context(ContextName::Main),
                    };
                    lowered.push(CopySource::Files {
                        from,
                        pattern,
                        pivot: 0,
                        span,
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

    /// The step whose output a `from` means.
    pub(super) fn files_step(&mut self, files: FilesOf, line: Line<'_>) -> StepId {
        match files {
            FilesOf::Scratch => self.push(
                StepKind::Scratch,
                line.planned.place(line.planned.instruction.span),
                "FROM scratch".to_owned(),
                "scratch".to_owned(),
            ),
            FilesOf::Stage(earlier) => self.states[earlier].step,
            FilesOf::Image(image) => self.copied_image(image),
        }
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
