//! What the words of an instruction mean: one function per shape of arguments.

use std::ops::Range;

use crate::flags::{FlagKind, FlagSet};
use crate::heredoc::heredoc_word;
use crate::json::{JsonForm, json_form};
use crate::line::Line;
use crate::parse::{Reading, split_keyword};
use crate::suggest::nearest;
use crate::words::{between_blanks, outside_quotes};
use crate::{
    AddInstruction, ArgDeclaration, CommandForm, CopyInstruction, CopySource, Diagnostic,
    FromInstruction, Healthcheck, HealthcheckCommand, Heredoc, InlineFile, Instruction,
    InstructionKind, Keyword, OnbuildInstruction, PIPES_DIRECTORY, Pair, PairForm, Pairs,
    RunInstruction, Span, Spanned, duration,
};

/// The most words that one instruction may have.
pub const WORDS_MAX: usize = 65_536;

/// The shortest time between health checks that engines accept, in nanoseconds (I4).
const HEALTHCHECK_TIME_MIN: i64 = 1_000_000;

/// What an instruction is read from, and where complaints go.
pub(crate) struct Context<'c> {
    pub(crate) line: &'c Line,
    pub(crate) escape: char,
    pub(crate) heredocs: &'c [Heredoc],
    pub(crate) diagnostics: &'c mut Vec<Diagnostic>,
}

/// Reads one instruction. Nothing means that a diagnostic says why.
pub(crate) fn read_instruction(context: &mut Context<'_>, whole: Range<usize>) -> Option<Reading> {
    let (word, arguments) = split_keyword(context.line, whole);
    let span = context.line.span(word.clone());
    let word = context.line.str(word);
    let Some(keyword) = Keyword::from_word(word) else {
        let mut unknown = Diagnostic::error(
            span,
            format!("unknown instruction `{}`", excerpt(word)),
            "not an instruction",
        );
        unknown.help = nearest(word, Keyword::ALL.map(Keyword::name))
            .map(|name| format!("did you mean {name}?"));
        return context.fail(unknown);
    };
    let keyword = Spanned::new(keyword, span);
    let mut flags = FlagSet::take(context, keyword.value, arguments.clone())?;
    let kind = context.kind(&keyword, &mut flags)?;
    Some((keyword, context.line.spanned(arguments), kind))
}

/// The start of a text, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    const EXCERPT_CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl Context<'_> {
    fn fail<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.diagnostics.push(diagnostic);
        None
    }

    pub(crate) fn error<T>(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
    ) -> Option<T> {
        self.fail(Diagnostic::error(span, message, label))
    }

    pub(crate) fn error_with_help<T>(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: impl Into<String>,
    ) -> Option<T> {
        self.fail(Diagnostic::error(span, message, label).with_help(help))
    }

    fn kind(&mut self, keyword: &Spanned<Keyword>, flags: &mut FlagSet) -> Option<InstructionKind> {
        let rest = flags.rest.clone();
        Some(match keyword.value {
            Keyword::Add => InstructionKind::Add(self.add(keyword, flags)?),
            Keyword::Arg => InstructionKind::Arg(self.arg(keyword, rest)?),
            Keyword::Cmd => InstructionKind::Cmd(self.command(keyword, rest)?),
            Keyword::Copy => InstructionKind::Copy(self.copy(keyword, flags)?),
            Keyword::Entrypoint => InstructionKind::Entrypoint(self.command(keyword, rest)?),
            Keyword::Env => InstructionKind::Env(self.pairs(keyword, rest)?),
            Keyword::Expose => InstructionKind::Expose(self.plain_words(keyword, rest)?),
            Keyword::From => InstructionKind::From(self.from(keyword, flags)?),
            Keyword::Healthcheck => InstructionKind::Healthcheck(self.healthcheck(keyword, flags)?),
            Keyword::Label => InstructionKind::Label(self.pairs(keyword, rest)?),
            Keyword::Maintainer => InstructionKind::Maintainer(self.rest_of_line(keyword, rest)?),
            Keyword::Onbuild => InstructionKind::Onbuild(self.onbuild(keyword, rest)?),
            Keyword::Run => InstructionKind::Run(self.run(keyword, flags)?),
            Keyword::Shell => InstructionKind::Shell(self.shell(keyword, rest)?),
            Keyword::StopSignal => InstructionKind::StopSignal(self.rest_of_line(keyword, rest)?),
            Keyword::User => InstructionKind::User(self.rest_of_line(keyword, rest)?),
            Keyword::Volume => InstructionKind::Volume(self.volume(keyword, rest)?),
            Keyword::Workdir => InstructionKind::Workdir(self.rest_of_line(keyword, rest)?),
        })
    }

    fn rest_of_line(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Spanned<String>> {
        if rest.is_empty() {
            let message = format!("{} needs exactly one argument", keyword.value);
            return self.error(keyword.span, message, "nothing follows");
        }
        Some(self.line.spanned(rest))
    }

    fn needs_an_argument<T>(&mut self, keyword: &Spanned<Keyword>) -> Option<T> {
        let message = format!("{} needs at least one argument", keyword.value);
        self.error(keyword.span, message, "nothing follows")
    }

    fn limit_words(&mut self, keyword: &Spanned<Keyword>, count: usize) -> Option<()> {
        if count <= WORDS_MAX {
            return Some(());
        }
        let message = format!("{} has {count} words, more than {WORDS_MAX}", keyword.value);
        self.error(keyword.span, message, "too many words")
    }

    fn plain_words(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Vec<Spanned<String>>> {
        let words = between_blanks(self.line, rest);
        if words.is_empty() {
            return self.needs_an_argument(keyword);
        }
        self.limit_words(keyword, words.len())?;
        Some(
            words
                .into_iter()
                .map(|word| self.line.spanned(word))
                .collect(),
        )
    }

    /// The strings of a JSON array; nothing inside for text that is not one; outside for an error.
    fn json(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Option<Vec<Spanned<String>>>> {
        match json_form(self.line, rest.clone()) {
            JsonForm::Strings(strings) => {
                self.limit_words(keyword, strings.len())?;
                Some(Some(strings))
            }
            JsonForm::NotOnlyStrings => self.error_with_help(
                self.line.span(rest),
                format!(
                    "the JSON array of {} may hold nothing but strings",
                    keyword.value
                ),
                "has an element that is not a string",
                "put every element in double quotes",
            ),
            JsonForm::Other => {
                let text = self.line.str(rest.clone()).trim();
                if (text.starts_with("[\"") || text.starts_with("['")) && text.ends_with(']') {
                    self.diagnostics.push(
                        Diagnostic::warning(
                            self.line.span(rest),
                            format!("this looks like the JSON form of {}, but is not valid JSON", keyword.value),
                            "read as plain text",
                        )
                        .with_help("JSON strings stand in double quotes, and a backslash in them is written twice"),
                    );
                }
                Some(None)
            }
        }
    }

    fn command(&mut self, keyword: &Spanned<Keyword>, rest: Range<usize>) -> Option<CommandForm> {
        Some(match self.json(keyword, rest.clone())? {
            Some(words) => CommandForm::Exec(words),
            None => CommandForm::Shell(self.line.spanned(rest)),
        })
    }

    fn run(&mut self, keyword: &Spanned<Keyword>, flags: &mut FlagSet) -> Option<RunInstruction> {
        let mut command = self.command(keyword, flags.rest.clone())?;
        let mut files = Vec::new();
        match &mut command {
            CommandForm::Exec(words) if words.is_empty() => {
                let span = self.line.span(flags.rest.clone());
                return self.error(span, "RUN has no command to run", "an empty array");
            }
            CommandForm::Exec(_) => {}
            CommandForm::Shell(shell) => {
                if let Some(first) = self.heredocs.first() {
                    let script = self.shell_text(&shell.value, first)?;
                    shell.value = script.0;
                    files.extend(script.1);
                }
            }
        }
        Some(RunInstruction {
            mounts: flags.all(FlagKind::Mount),
            network: flags.one(FlagKind::Network),
            security: flags.one(FlagKind::Security),
            devices: flags.all(FlagKind::Device),
            command,
            files,
        })
    }

    /// What the shell gets for a line with here-documents (H5-H7), and the script beside it.
    fn shell_text(&mut self, line: &str, first: &Heredoc) -> Option<(String, Option<InlineFile>)> {
        if heredoc_word(line).is_none() {
            let mut text = line.to_owned();
            self.append_bodies(&mut text);
            return Some((text, None));
        }
        let content = first.content();
        if !content.starts_with("#!") {
            return Some((content, None));
        }
        self.check_file_name(first)?;
        let name = Spanned::new(first.name.clone(), first.span);
        let path = format!("{PIPES_DIRECTORY}/{}", first.name);
        Some((
            path,
            Some(InlineFile {
                name,
                content,
                expand: false,
            }),
        ))
    }

    /// Puts the bodies of the here-documents after the line that announces them.
    fn append_bodies(&self, text: &mut String) {
        for heredoc in self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body.value);
            text.push_str(&heredoc.name);
        }
    }

    /// The name of a here-document that becomes a file must not lead elsewhere.
    fn check_file_name(&mut self, heredoc: &Heredoc) -> Option<()> {
        if heredoc.name.contains(['/', '\0']) || heredoc.name == "." || heredoc.name == ".." {
            let message = format!("`{}` cannot be the name of a file", excerpt(&heredoc.name));
            return self.error_with_help(
                heredoc.span,
                message,
                "becomes a file name",
                "name the here-document without `/`",
            );
        }
        Some(())
    }

    fn shell(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Vec<Spanned<String>>> {
        match self.json(keyword, rest.clone())? {
            Some(words) if !words.is_empty() => Some(words),
            Some(_) => self.needs_an_argument(keyword),
            None => {
                let span = if rest.is_empty() {
                    keyword.span
                } else {
                    self.line.span(rest)
                };
                self.error_with_help(
                    span,
                    "SHELL needs its arguments in JSON form",
                    "not a JSON array",
                    "for example: SHELL [\"/bin/bash\", \"-c\"]",
                )
            }
        }
    }

    fn volume(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Vec<Spanned<String>>> {
        let paths = match self.json(keyword, rest.clone())? {
            Some(paths) => paths,
            None => self.plain_words(keyword, rest)?,
        };
        if paths.is_empty() {
            return self.needs_an_argument(keyword);
        }
        if let Some(empty) = paths.iter().find(|path| path.value.trim().is_empty()) {
            return self.error(empty.span, "the path of a volume cannot be empty", "empty");
        }
        Some(paths)
    }

    fn from(&mut self, keyword: &Spanned<Keyword>, flags: &mut FlagSet) -> Option<FromInstruction> {
        let words = between_blanks(self.line, flags.rest.clone());
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, separator, name]
                if self.line.str(separator.clone()).eq_ignore_ascii_case("as") =>
            {
                (image, Some(name))
            }
            [] => return self.error(keyword.span, "FROM needs an image", "nothing follows"),
            _ => {
                let span = self.line.span(flags.rest.clone());
                return self.error_with_help(
                    span,
                    "FROM requires either one or three arguments",
                    "neither `image` nor `image AS name`",
                    "write `FROM image` or `FROM image AS name`",
                );
            }
        };
        let name = match name {
            None => None,
            Some(name) => {
                let name = self
                    .line
                    .spanned(name.clone())
                    .map(|name| name.to_lowercase());
                if !is_stage_name(&name.value) {
                    let message =
                        format!("`{}` cannot be the name of a stage", excerpt(&name.value));
                    return self.error_with_help(
                        name.span,
                        message,
                        "not a stage name",
                        "a name begins with a letter and goes on with letters, digits, `-`, `_` and `.`",
                    );
                }
                Some(name)
            }
        };
        Some(FromInstruction {
            platform: flags.one(FlagKind::Platform),
            image: self.line.spanned(image.clone()),
            name,
        })
    }

    fn copy(&mut self, keyword: &Spanned<Keyword>, flags: &mut FlagSet) -> Option<CopyInstruction> {
        let (sources, destination) = self.sources(keyword, flags.rest.clone())?;
        Some(CopyInstruction {
            from: flags
                .one(FlagKind::From)
                .filter(|from| !from.value.is_empty()),
            chown: flags.one(FlagKind::Chown),
            chmod: flags.one(FlagKind::Chmod),
            link: flags.switch(FlagKind::Link).unwrap_or(false),
            parents: flags.switch(FlagKind::Parents).unwrap_or(false),
            excludes: flags.all(FlagKind::Exclude),
            sources,
            destination,
        })
    }

    fn add(&mut self, keyword: &Spanned<Keyword>, flags: &mut FlagSet) -> Option<AddInstruction> {
        let (sources, destination) = self.sources(keyword, flags.rest.clone())?;
        Some(AddInstruction {
            chown: flags.one(FlagKind::Chown),
            chmod: flags.one(FlagKind::Chmod),
            link: flags.switch(FlagKind::Link).unwrap_or(false),
            excludes: flags.all(FlagKind::Exclude),
            checksum: flags.one(FlagKind::Checksum),
            keep_git_dir: flags.switch(FlagKind::KeepGitDir),
            unpack: flags.switch(FlagKind::Unpack),
            sources,
            destination,
        })
    }

    fn sources(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<(Vec<CopySource>, Spanned<String>)> {
        let json = self.json(keyword, rest.clone())?;
        let is_json = json.is_some();
        let mut words = match json {
            Some(words) => words,
            None => {
                let words = between_blanks(self.line, rest.clone());
                self.limit_words(keyword, words.len())?;
                words
                    .into_iter()
                    .map(|word| self.line.spanned(word))
                    .collect()
            }
        };
        if words.len() < 2 {
            let span = if rest.is_empty() {
                keyword.span
            } else {
                self.line.span(rest)
            };
            let message = format!(
                "{} needs at least one source and a destination",
                keyword.value
            );
            return self.error(
                span,
                message,
                if words.is_empty() {
                    "neither is here"
                } else {
                    "only one of them is here"
                },
            );
        }
        let destination = words.pop()?;
        if !is_json && heredoc_word(&destination.value).is_some() {
            let message = format!(
                "a here-document cannot be the destination of {}",
                keyword.value
            );
            return self.error(destination.span, message, "the destination");
        }
        let mut sources = Vec::with_capacity(words.len());
        let mut heredocs = self.heredocs.iter();
        for word in words {
            if is_json || heredoc_word(&word.value).is_none() {
                sources.push(CopySource::Path(word));
                continue;
            }
            // Lines with open quotes and unterminated documents have no bodies; the latter has
            // been reported.
            let Some(heredoc) = heredocs.find(|heredoc| heredoc.span == word.span) else {
                return self.error(
                    word.span,
                    "this here-document has no body",
                    "cannot be read",
                );
            };
            self.check_file_name(heredoc)?;
            sources.push(CopySource::Inline(InlineFile {
                name: Spanned::new(heredoc.name.clone(), heredoc.span),
                content: heredoc.content(),
                expand: heredoc.expand,
            }));
        }
        let inline = sources
            .iter()
            .filter(|source| matches!(source, CopySource::Inline(_)))
            .count();
        if let Some(lost) = self.heredocs.get(inline) {
            return self.error_with_help(
                lost.span,
                format!(
                    "the name of a here-document in {} cannot contain blanks",
                    keyword.value
                ),
                "quoted blanks",
                "the name becomes a file name; use one without blanks",
            );
        }
        Some((sources, destination))
    }

    fn arg(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Vec<ArgDeclaration>> {
        let words = outside_quotes(self.line, rest, self.escape);
        if words.is_empty() {
            return self.needs_an_argument(keyword);
        }
        self.limit_words(keyword, words.len())?;
        let mut declarations = Vec::with_capacity(words.len());
        for word in words {
            let (name, default) = match self.line.str(word.clone()).find('=') {
                Some(equals) => {
                    let equals = word.start + equals;
                    (
                        word.start..equals,
                        Some(self.line.spanned(equals + 1..word.end)),
                    )
                }
                None => (word, None),
            };
            declarations.push(ArgDeclaration {
                name: self.name(keyword, name)?,
                default,
            });
        }
        Some(declarations)
    }

    fn name(&mut self, keyword: &Spanned<Keyword>, name: Range<usize>) -> Option<Spanned<String>> {
        if name.is_empty() {
            let span = self.line.span(name.start..name.start + 1);
            let message = format!("a name of {} cannot be empty", keyword.value);
            return self.error(span, message, "no name before `=`");
        }
        Some(self.line.spanned(name))
    }

    fn pairs(&mut self, keyword: &Spanned<Keyword>, rest: Range<usize>) -> Option<Pairs> {
        let words = outside_quotes(self.line, rest.clone(), self.escape);
        let Some(first) = words.first() else {
            return self.needs_an_argument(keyword);
        };
        if !self.line.str(first.clone()).contains('=') {
            return self.legacy_pair(keyword, rest);
        }
        self.limit_words(keyword, words.len())?;
        let mut pairs = Vec::with_capacity(words.len());
        for word in words {
            let Some(equals) = self.line.str(word.clone()).find('=') else {
                let message = format!("`{}` has no `=`", excerpt(self.line.str(word.clone())));
                return self.error_with_help(
                    self.line.span(word),
                    message,
                    "expected name=value",
                    "a value with blanks in it stands in quotes",
                );
            };
            let equals = word.start + equals;
            pairs.push(Pair {
                key: self.name(keyword, word.start..equals)?,
                value: self.line.spanned(equals + 1..word.end),
            });
        }
        Some(Pairs {
            pairs,
            form: PairForm::Equals,
        })
    }

    /// `key the rest of the line` (P13).
    fn legacy_pair(&mut self, keyword: &Spanned<Keyword>, rest: Range<usize>) -> Option<Pairs> {
        let (key, value) = split_keyword(self.line, rest);
        if value.is_empty() {
            let message = format!("{} needs a value", keyword.value);
            return self.error_with_help(
                self.line.span(key.clone()),
                message,
                "a name without a value",
                format!(
                    "write {} {}=value",
                    keyword.value,
                    excerpt(self.line.str(key))
                ),
            );
        }
        let pair = Pair {
            key: self.line.spanned(key),
            value: self.line.spanned(value),
        };
        Some(Pairs {
            pairs: vec![pair],
            form: PairForm::Legacy,
        })
    }

    fn healthcheck(
        &mut self,
        keyword: &Spanned<Keyword>,
        flags: &mut FlagSet,
    ) -> Option<Healthcheck> {
        let (word, rest) = split_keyword(self.line, flags.rest.clone());
        let span = self.line.span(word.clone());
        match self.line.str(word).to_ascii_uppercase().as_str() {
            "" => self.needs_an_argument(keyword),
            "NONE" => {
                if !rest.is_empty() {
                    return self.error(
                        self.line.span(rest),
                        "HEALTHCHECK NONE takes no arguments",
                        "not expected",
                    );
                }
                if let Some(flag) = flags.first_span() {
                    return self.error(flag, "HEALTHCHECK NONE takes no flags", "not expected");
                }
                Some(Healthcheck::None)
            }
            "CMD" => {
                let check = HealthcheckCommand {
                    interval: self.healthcheck_time(flags, FlagKind::Interval)?,
                    timeout: self.healthcheck_time(flags, FlagKind::Timeout)?,
                    start_period: self.healthcheck_time(flags, FlagKind::StartPeriod)?,
                    start_interval: self.healthcheck_time(flags, FlagKind::StartInterval)?,
                    retries: self.healthcheck_retries(flags)?,
                    command: self.command(keyword, rest)?,
                };
                let is_empty = match &check.command {
                    CommandForm::Shell(text) => text.value.is_empty(),
                    CommandForm::Exec(words) => words.is_empty(),
                };
                if is_empty {
                    return self.error(span, "HEALTHCHECK CMD has no command", "nothing follows");
                }
                Some(Healthcheck::Check(check))
            }
            _ => self.error_with_help(
                span,
                "HEALTHCHECK takes NONE or CMD",
                "neither of them",
                "write HEALTHCHECK [flags] CMD command",
            ),
        }
    }

    /// One time of a health check: 0, or at least a millisecond (I4).
    fn healthcheck_time(
        &mut self,
        flags: &mut FlagSet,
        kind: FlagKind,
    ) -> Option<Option<Spanned<u64>>> {
        let Some(flag) = flags.one(kind).filter(|flag| !flag.value.is_empty()) else {
            return Some(None);
        };
        match duration::parse(&flag.value) {
            Ok(0) => Some(Some(Spanned::new(0, flag.span))),
            Ok(nanoseconds) if nanoseconds >= HEALTHCHECK_TIME_MIN => {
                Some(Some(Spanned::new(nanoseconds.unsigned_abs(), flag.span)))
            }
            Ok(_) => {
                let message = format!("--{} cannot be less than 1ms", kind.name());
                self.error_with_help(flag.span, message, "too short", "0 stands for the default")
            }
            Err(error) => {
                let message = format!("--{} is not a duration: {error}", kind.name());
                self.error_with_help(
                    flag.span,
                    message,
                    "not a duration",
                    "for example: 30s, 1m30s, 500ms",
                )
            }
        }
    }

    fn healthcheck_retries(&mut self, flags: &mut FlagSet) -> Option<Option<Spanned<u32>>> {
        let Some(flag) = flags
            .one(FlagKind::Retries)
            .filter(|flag| !flag.value.is_empty())
        else {
            return Some(None);
        };
        match flag.value.parse::<i32>() {
            Ok(retries) if retries >= 0 => {
                Some(Some(Spanned::new(retries.unsigned_abs(), flag.span)))
            }
            Ok(_) => self.error(flag.span, "--retries cannot be negative", "negative"),
            Err(_) => self.error(flag.span, "--retries is not a whole number", "not a number"),
        }
    }

    fn onbuild(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<OnbuildInstruction> {
        if rest.is_empty() {
            return self.needs_an_argument(keyword);
        }
        let (word, _) = split_keyword(self.line, rest.clone());
        let span = self.line.span(word.clone());
        match Keyword::from_word(self.line.str(word)) {
            Some(Keyword::Onbuild) => {
                return self.error(
                    span,
                    "ONBUILD ONBUILD is not allowed",
                    "a trigger cannot set triggers",
                );
            }
            Some(trigger @ (Keyword::From | Keyword::Maintainer)) => {
                let message = format!("{trigger} is not allowed as an ONBUILD trigger");
                return self.error(span, message, "not a trigger");
            }
            Some(_) | None => {}
        }
        let (keyword, arguments, kind) = read_instruction(self, rest.clone())?;
        let mut text = self.line.str(rest.clone()).to_owned();
        self.append_bodies(&mut text);
        let inner = Instruction {
            span: self.line.span(rest),
            keyword,
            arguments,
            kind,
            heredocs: self.heredocs.to_vec(),
        };
        Some(OnbuildInstruction {
            text,
            inner: Box::new(inner),
        })
    }
}

/// `^[a-z][a-z0-9-_.]*$` (P17).
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))
}
