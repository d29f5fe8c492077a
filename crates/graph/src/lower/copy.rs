//! COPY and ADD: which files go where.

use dockerfile::chmod::ModeChange;
use dockerfile::chown::{Identity, Owner};
use dockerfile::ignore::IgnoreFile;
use dockerfile::{AddInstruction, CopyInstruction, Diagnostic, Span, Spanned, expand_heredoc};

use super::remote::RemoteFlags;
use super::{Line, Lowerer, State, base_name};
use crate::stage::{FilesOf, Stage, expand_error};
use crate::{
    Chmod, ContextName, CopySource, CopyStep, FileSource, InlineFile, Step, StepId, StepKind,
    Unpack, paths,
};

/// What COPY and ADD have in common: their flags as written.
struct Flags<'i> {
    keyword: &'static str,
    chown: Option<&'i Spanned<String>>,
    chmod: Option<&'i Spanned<String>>,
    link: bool,
    parents: bool,
    excludes: &'i [Spanned<String>],
    unpack: Unpack,
    /// Of ADD.
    remote: Option<&'i RemoteFlags>,
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
            // Of sources from elsewhere.
            checksum: _,
            keep_git_dir: _,
            unpack,
            sources,
            destination,
        } = add;
        let remote = self.remote_flags(state, line, add)?;
        let flags = Flags {
            keyword: "ADD",
            chown: chown.as_ref(),
            chmod: chmod.as_ref(),
            link: *link,
            parents: false,
            excludes,
            unpack: match unpack {
                None => Unpack::Files,
                Some(true) => Unpack::All,
                Some(false) => Unpack::Nothing,
            },
            remote: Some(&remote),
        };
        let sources = self.sources(state, line, &flags, None, sources);
        self.copied(state, line, &flags, sources, destination)
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
        let flags = Flags {
            keyword: "COPY",
            chown: chown.as_ref(),
            chmod: chmod.as_ref(),
            link: *link,
            parents: *parents,
            excludes,
            unpack: Unpack::Nothing,
            remote: None,
        };
        let from = line
            .planned
            .files_of
            .first()
            .map(|&from| self.file_source(from, line));
        let sources = self.sources(state, line, &flags, from, sources);
        self.copied(state, line, &flags, sources, destination)
    }

    /// All words are looked at before any mistake among them ends the line.
    fn copied(
        &mut self,
        state: &mut State,
        line: Line<'_>,
        flags: &Flags<'_>,
        sources: Option<(Vec<CopySource>, Vec<String>)>,
        destination: &Spanned<String>,
    ) -> Option<()> {
        let Flags {
            keyword,
            chown,
            chmod,
            link,
            parents,
            excludes,
            unpack,
            remote: _,
        } = *flags;
        let chown = self.chown(state, line, chown);
        let chmod = self.chmod(state, line, chmod);
        let excludes = self.excludes(line, excludes);
        let written = self.expand(state, line, destination);
        let ((sources, shown), chown, chmod) = (sources?, chown?, chmod?);
        let (excludes, written) = (excludes?, written?);
        // A mode that depends on what is there needs what is there (C29).
        let link = link && chmod.is_none();
        if link && let (Some((_, owner)), Some(word)) = (&chown, flags.chown) {
            self.refuse_names_for_link(line, &owner.value, word.span)?;
        }
        let history = history(
            flags,
            chown.as_ref().map(|(text, _)| text.as_str()),
            chmod.as_ref(),
            &shown,
            &written,
        );
        let step = CopyStep {
            sources,
            destination: paths::absolute(&state.working_directory(), &written),
            destination_is_directory: parents || paths::names_directory(&written),
            chown: chown.map(|(_, owner)| owner),
            chmod,
            unpack,
            parents,
            excludes,
        };
        let text = format!("{keyword} {}", line.planned.instruction.arguments.value);
        let step = if link {
            self.linked(state, line, step, &text)
        } else {
            self.step(state, line, StepKind::Copy(step), &text)
        };
        state.record(history, Some(step));
        Some(())
    }

    /// A copy onto nothing, and its layer on top of the stage: one instruction, one title, two
    /// steps (C29).
    fn linked(&mut self, state: &mut State, line: Line<'_>, copy: CopyStep, text: &str) -> StepId {
        let below = state.step;
        state.step = self.nothing(line);
        let layer = self.step(state, line, StepKind::Copy(copy), text);
        let merge = Step {
            kind: StepKind::Merge(layer),
            parent: Some(below),
            ..self.steps[layer.index()].clone()
        };
        state.step = self.add_step(merge);
        state.step
    }

    /// The empty file system that linked copies are made on, and that `scratch` names: one for all
    /// of them.
    fn nothing(&mut self, line: Line<'_>) -> StepId {
        if let Some(step) = self.nothing {
            return step;
        }
        let Stage { span, shown, .. } = line.stage;
        let title = "FROM scratch".to_owned();
        let step = self.push(StepKind::Scratch, *span, title, shown.clone());
        self.nothing = Some(step);
        step
    }

    /// Nothing knows names where a linked copy is made, but for root's (C2).
    fn refuse_names_for_link(&mut self, line: Line<'_>, owner: &Owner, span: Span) -> Option<()> {
        let Owner { user, group } = owner;
        let name = [Some(user), group.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|identity| match identity {
                Identity::Name(name) => Some(name),
                Identity::Id(_) => None,
            });
        let Some(name) = name else { return Some(()) };
        let message = format!("`{name}` cannot be looked up: --link copies without the image");
        let finding = Diagnostic::error(span, message, "a name")
            .with_help("use its number, or leave --link out");
        self.findings.push(line.planned.put(finding));
        None
    }

    /// An empty variable means that no owner was asked for.
    fn chown(
        &mut self,
        state: &State,
        line: Line<'_>,
        word: Option<&Spanned<String>>,
    ) -> Option<Option<(String, Spanned<Owner>)>> {
        let Some(word) = word else { return Some(None) };
        let text = self.expand(state, line, word)?;
        if text.is_empty() {
            return Some(None);
        }
        match Owner::parse(&text) {
            Ok(owner) => {
                let span = line.planned.place(word.span);
                Some(Some((text, Spanned::new(owner, span))))
            }
            Err(error) => self.error(line, word.span, error.to_string(), "not an owner"),
        }
    }

    fn chmod(
        &mut self,
        state: &State,
        line: Line<'_>,
        word: Option<&Spanned<String>>,
    ) -> Option<Option<Chmod>> {
        let Some(word) = word else { return Some(None) };
        let text = self.expand(state, line, word)?;
        if text.is_empty() {
            return Some(None);
        }
        match ModeChange::parse(&text) {
            Ok(change) => Some(Some(Chmod { text, change })),
            Err(error) => self.error(line, word.span, error.to_string(), "not a mode"),
        }
    }

    /// The patterns of `--exclude`, in which variables mean nothing (V1).
    fn excludes(&mut self, line: Line<'_>, words: &[Spanned<String>]) -> Option<Vec<String>> {
        let mut understood = Some(());
        for word in words {
            if let Err(error) = IgnoreFile::of_patterns([&word.value]) {
                understood = self.error(line, word.span, error.kind.to_string(), "not a pattern");
            }
        }
        understood?;
        Some(words.iter().map(|word| word.value.clone()).collect())
    }

    /// The sources and how history shows them: paths first and here-documents behind them, which
    /// is also the order of copying.
    fn sources(
        &mut self,
        state: &State,
        line: Line<'_>,
        flags: &Flags<'_>,
        from: Option<FileSource>,
        sources: &[dockerfile::CopySource],
    ) -> Option<(Vec<CopySource>, Vec<String>)> {
        let (mut lowered, mut shown) = (Vec::new(), Vec::new());
        let (mut inline, mut inline_shown) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                dockerfile::CopySource::Path(word) => {
                    let path = self.expand(state, line, word)?;
                    if let Some((source, path)) =
                        self.remote_source(line, flags.remote, word, &path)?
                    {
                        lowered.push(source);
                        shown.push(path);
                        continue;
                    }
                    let (pattern, pivot) = match flags.parents {
                        true => paths::pivoted(&path),
                        false => (paths::relative(&path), 0),
                    };
                    let span = line.planned.place(word.span);
                    let main = FileSource::Context(ContextName::Main(self.request.image));
                    let from = from.clone().unwrap_or(main);
                    lowered.push(CopySource::Files {
                        from,
                        pattern,
                        pivot,
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

    /// Where the files are that a `from` means.
    pub(super) fn file_source(&mut self, files: FilesOf, line: Line<'_>) -> FileSource {
        FileSource::Step(match files {
            FilesOf::Scratch => self.nothing(line),
            FilesOf::Stage(earlier) => self.states[earlier].step,
            FilesOf::Image(image) => self.copied_image(image),
            FilesOf::Built(built) => self.set.built[built].step,
            FilesOf::Context(context) => {
                let name = self.set.contexts[context].clone();
                return FileSource::Context(ContextName::Named(self.request.image, name));
            }
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
}

/// What history says of a copy: of its flags only these, and in this order, as BuildKit has it
/// (I10).
fn history(
    flags: &Flags<'_>,
    chown: Option<&str>,
    chmod: Option<&Chmod>,
    sources: &[String],
    destination: &str,
) -> String {
    let mut history = String::from(flags.keyword);
    if flags.parents {
        history.push_str(" --parents");
    }
    if let Some(owner) = chown {
        history.push_str(&format!(" --chown={owner}"));
    }
    if let Some(Chmod { text, change: _ }) = chmod {
        history.push_str(&format!(" --chmod={text}"));
    }
    for source in sources {
        history.push_str(&format!(" {source}"));
    }
    history.push_str(&format!(" {destination} # buildkit"));
    history
}

/// The place of a flag that takes no value, in a line without continuations; else the whole line.
pub(super) fn flag_span(line: Line<'_>, flag: &str) -> Span {
    let instruction = &line.planned.instruction;
    let Spanned { value, span } = &instruction.arguments;
    match value.find(flag) {
        Some(at) if value.len() == span.len() => {
            Span::new(span.start + at, span.start + at + flag.len())
        }
        Some(_) | None => instruction.span,
    }
}
