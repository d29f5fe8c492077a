//! What the words of an instruction mean. Here is what all instructions share; each shape of
//! arguments has a file below.

mod command;
mod copy;
mod healthcheck;
mod names;
mod stage;

use std::ops::Range;

use crate::flags::FlagSet;
use crate::json::{JsonForm, json_form};
use crate::line::Line;
use crate::parse::{Reading, split_keyword};
use crate::suggest::nearest;
use crate::words::between_blanks;
use crate::{Diagnostic, Heredoc, InstructionKind, Keyword, Span, Spanned};

/// The most words that one instruction may have.
pub const WORDS_MAX: usize = 65_536;

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
            .map(|name| format!("did you mean `{name}`?"));
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
}
