//! Dockerfile text to a tree: lines, directives, continuations and here-document bodies. What an
//! instruction's own words mean is in `instruction`.

use std::ops::Range;

use crate::frontend;
use crate::heredoc::heredoc_words;
use crate::instruction::{Context, excerpt, read_instruction};
use crate::json::{JsonForm, json_form};
use crate::line::Line;
use crate::words::take_flags;
use crate::{
    Diagnostic, Directive, DirectiveKind, Dockerfile, Heredoc, Instruction, InstructionKind,
    Keyword, Node, NodeKind, Rule, Span, Spanned,
};

/// The longest text that is read. Files of real projects stay below a hundredth of it; there is no
/// limit on a line (P10).
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// How many diagnostics end the reading. What follows is a single invalid node.
pub const DIAGNOSTICS_MAX: usize = 1000;

/// A tree and what is wrong with the text. The tree is always there; it may be built only when no
/// diagnostic is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// What could be understood.
    pub tree: Dockerfile,
    /// What could not, and what looks odd, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parse {
    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads a whole Dockerfile. Never fails: what is wrong is in the diagnostics.
pub fn parse(text: &str) -> Parse {
    let mut parser = Parser::new(text, '\\');
    if parser.fits() {
        parser.byte_order_mark();
        if !parser.foreign_file() {
            parser.directives();
            parser.instructions();
            parser.check_order();
        }
    }
    parser.finish()
}

/// Reads one trigger as stored under `OnBuild` in an image configuration. Without an error the
/// tree holds exactly one instruction, which is not FROM, MAINTAINER or ONBUILD (I9). `escape` is
/// the escape character of the file that the trigger becomes a part of.
pub fn parse_onbuild(text: &str, escape: char) -> Parse {
    let mut parser = Parser::new(text, escape);
    if parser.fits() {
        parser.instructions();
        parser.check_trigger();
    }
    parser.finish()
}

struct Parser<'t> {
    text: &'t str,
    /// Everything before it is covered by nodes.
    at: usize,
    tree: Dockerfile,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, escape: char) -> Self {
        Self {
            text,
            at: 0,
            tree: Dockerfile {
                escape,
                directives: Vec::new(),
                nodes: Vec::new(),
                instructions: Vec::new(),
            },
            diagnostics: Vec::new(),
        }
    }

    fn finish(mut self) -> Parse {
        self.diagnostics
            .sort_by_key(|diagnostic| diagnostic.span.start);
        Parse {
            tree: self.tree,
            diagnostics: self.diagnostics,
        }
    }

    /// Ends a node at `end`; it begins where the last one ended.
    fn node(&mut self, end: usize, kind: NodeKind) {
        self.tree.nodes.push(Node {
            span: Span::new(self.at, end),
            kind,
        });
        self.at = end;
    }

    fn fits(&mut self) -> bool {
        if self.text.len() <= TEXT_BYTES_MAX {
            return true;
        }
        let message = format!("the file is longer than {} MiB", TEXT_BYTES_MAX >> 20);
        self.diagnostics
            .push(Diagnostic::error(Span::new(0, 0), message, "this file"));
        self.node(self.text.len(), NodeKind::Invalid);
        false
    }

    fn byte_order_mark(&mut self) {
        if self.text.starts_with('\u{feff}') {
            self.node('\u{feff}'.len_utf8(), NodeKind::ByteOrderMark);
        }
    }

    /// Files for other frontends name theirs in another syntax (P5). Nothing else in them is ours
    /// to read.
    fn foreign_file(&mut self) -> bool {
        let Some(syntax) = foreign_syntax(&self.text[self.at..]) else {
            return false;
        };
        let span = self.trimmed_line(self.at);
        let finding = if frontend::is_known(&syntax) {
            let message = "a Dockerfile names its frontend in a comment";
            Diagnostic::error(span, message, "not Dockerfile syntax")
                .with_help(format!("write `# syntax={}`", excerpt(&syntax)))
        } else {
            let message = format!(
                "this file is written for the frontend `{}`",
                excerpt(&syntax)
            );
            Diagnostic::error(span, message, "not Dockerfile syntax")
                .with_help("only Dockerfiles can be read; frontend images are never run")
        };
        self.diagnostics.push(finding);
        self.node(self.text.len(), NodeKind::Invalid);
        true
    }

    /// The lines at the top that may be directives (P2).
    fn directives(&mut self) {
        let mut after_shebang = false;
        if self.text[self.at..].starts_with("#!") {
            let end = self.line_end(self.at);
            self.node(end, NodeKind::Shebang);
            after_shebang = true;
        }
        while let Some((kind, value)) = directive(self.text, self.trimmed_line(self.at)) {
            let span = self.trimmed_line(self.at);
            let end = self.line_end(self.at);
            if self.tree.directive(kind).is_some() {
                let message = format!("only one {} directive can be used", kind.name());
                self.diagnostics
                    .push(Diagnostic::error(span, message, "the second one"));
                self.node(end, NodeKind::Invalid);
                continue;
            }
            if kind == DirectiveKind::Syntax && !frontend::is_known(&value.value) {
                let message = format!(
                    "this file is written for the frontend `{}`",
                    excerpt(&value.value)
                );
                self.diagnostics.push(
                    Diagnostic::warning(value.span, message, "not run: it is an image")
                        .with_help(frontend::INSTEAD),
                );
            }
            if kind == DirectiveKind::Escape {
                if after_shebang {
                    let message = "the escape directive has no effect after a `#!` line";
                    self.diagnostics
                        .push(Diagnostic::warning(span, message, "read as a comment"));
                    self.node(end, NodeKind::Comment);
                    continue;
                }
                match value.value.as_str() {
                    "\\" => self.tree.escape = '\\',
                    "`" => self.tree.escape = '`',
                    other => {
                        let message =
                            format!("`{}` cannot be the escape character", excerpt(other));
                        self.diagnostics.push(
                            Diagnostic::error(value.span, message, "not an escape character")
                                .with_help("use a backslash or a backtick"),
                        );
                        self.node(end, NodeKind::Invalid);
                        continue;
                    }
                }
            }
            self.tree.directives.push(Directive { span, kind, value });
            self.node(end, NodeKind::Directive(self.tree.directives.len() - 1));
        }
    }

    fn instructions(&mut self) {
        while self.at < self.text.len() {
            if self.diagnostics.len() >= DIAGNOSTICS_MAX {
                let span = self.trimmed_line(self.at);
                self.diagnostics.push(Diagnostic::error(
                    span,
                    "too many errors and warnings",
                    "stopped here",
                ));
                self.node(self.text.len(), NodeKind::Invalid);
                return;
            }
            let line = self.trimmed_line(self.at);
            if line.is_empty() {
                self.node(self.line_end(self.at), NodeKind::Blank);
            } else if line.of(self.text).starts_with('#') {
                self.node(self.line_end(self.at), NodeKind::Comment);
            } else {
                self.instruction();
            }
        }
    }

    fn instruction(&mut self) {
        let first_diagnostic = self.diagnostics.len();
        let (line, mut next) = self.logical_line();
        let whole = line.trim(0..line.text().len());
        if whole.is_empty() {
            let span = self.trimmed_line(self.at);
            self.diagnostics.push(Diagnostic::error(
                span,
                "a continuation with nothing to continue",
                "here",
            ));
            self.node(next, NodeKind::Invalid);
            return;
        }
        let heredocs = self.heredocs(&line, whole.clone(), &mut next);
        if self.diagnostics[first_diagnostic..]
            .iter()
            .any(Diagnostic::is_error)
        {
            // A body is missing: whatever else could be said is a consequence.
            self.node(next, NodeKind::Invalid);
            return;
        }
        let mut context = Context {
            line: &line,
            escape: self.tree.escape,
            heredocs: &heredocs,
            diagnostics: &mut self.diagnostics,
        };
        let read = read_instruction(&mut context, whole.clone());
        let failed = self.diagnostics[first_diagnostic..]
            .iter()
            .any(Diagnostic::is_error);
        match read {
            Some((keyword, arguments, kind)) if !failed => {
                let span = line.span(whole);
                let end = heredocs
                    .last()
                    .map_or(span.end, |heredoc| heredoc.terminator.end);
                self.tree.instructions.push(Instruction {
                    span: Span::new(span.start, end),
                    keyword,
                    arguments,
                    kind,
                    heredocs,
                });
                self.node(
                    next,
                    NodeKind::Instruction(self.tree.instructions.len() - 1),
                );
            }
            Some(_) | None => self.node(next, NodeKind::Invalid),
        }
    }

    /// Joins a line with its continuations (P6-P9). Returns where the next line begins.
    fn logical_line(&mut self) -> (Line, usize) {
        let mut line = Line::default();
        let start = self.at;
        let mut at = start;
        let mut empty_line = None;
        while at < self.text.len() {
            let content = self.line_content(at);
            let next = self.line_end(at);
            let text = &self.text[content.clone()];
            let trimmed = text.trim_start();
            if at != start {
                if trimmed.starts_with('#') {
                    at = next;
                    continue;
                }
                if trimmed.is_empty() {
                    empty_line = empty_line.or(Some(Span::new(content.start, next)));
                    at = next;
                    continue;
                }
            }
            // Only the first line loses its indentation (P9).
            let (piece, piece_at) = if at == start {
                (trimmed, content.end - trimmed.len())
            } else {
                (text, content.start)
            };
            at = next;
            match continued(piece, self.tree.escape) {
                Some(before) => line.push(before, piece_at),
                None => {
                    line.push(piece, piece_at);
                    break;
                }
            }
        }
        if let Some(first) = empty_line {
            let message = "an empty line inside a continued instruction";
            self.diagnostics.push(
                Diagnostic::warning(first, message, "does not end the instruction")
                    .with_help("remove the line, or the escape character before it")
                    .of_rule(Rule::NoEmptyContinuation),
            );
        }
        (line, at)
    }

    /// Reads the bodies of the here-documents that a line announces and moves `next` behind them.
    /// Done before the instruction is read: whatever is wrong with it, a body is not instructions.
    fn heredocs(&mut self, line: &Line, whole: Range<usize>, next: &mut usize) -> Vec<Heredoc> {
        let Some((keyword, arguments)) = heredoc_place(line, whole) else {
            return Vec::new();
        };
        let mut heredocs = Vec::new();
        for word in heredoc_words(line, arguments, keyword == Keyword::Run) {
            let body_start = *next;
            let mut at = body_start;
            let terminator = loop {
                if at >= self.text.len() {
                    break None;
                }
                let content = self.line_content(at);
                let text = &self.text[content.clone()];
                let text = if word.strip_tabs {
                    text.trim_start_matches('\t')
                } else {
                    text
                };
                if text == word.name {
                    break Some(content);
                }
                at = self.line_end(at);
            };
            let Some(terminator) = terminator else {
                let message = format!("the here-document `{}` does not end", excerpt(&word.name));
                self.diagnostics.push(
                    Diagnostic::error(line.span(word.range), message, "unterminated heredoc")
                        .with_help(format!(
                            "end it with a line that is exactly `{}`, or put `<<` in quotes if it does not begin one",
                            excerpt(&word.name)
                        )),
                );
                // Nobody knows where it should have ended; reading what follows as instructions would
                // only bury this error under others.
                *next = self.text.len();
                break;
            };
            *next = self.line_end(at);
            heredocs.push(Heredoc {
                name: word.name,
                span: line.span(word.range),
                expand: word.expand,
                strip_tabs: word.strip_tabs,
                file_descriptor: word.file_descriptor,
                body: Spanned::new(
                    self.text[body_start..at].to_owned(),
                    Span::new(body_start, at),
                ),
                terminator: Span::new(terminator.start, terminator.end),
            });
        }
        heredocs
    }

    /// Only ARG before the first FROM (P15), and something to build (P16).
    fn check_order(&mut self) {
        let is_from = |keyword: Keyword| keyword == Keyword::From;
        let first_from = self
            .tree
            .instructions
            .iter()
            .position(|instruction| is_from(instruction.keyword.value));
        let before = &self.tree.instructions[..first_from.unwrap_or(self.tree.instructions.len())];
        // A FROM that could not be read still begins a stage: one error is enough.
        let invalid_from = self.tree.nodes.iter().any(|node| {
            node.kind == NodeKind::Invalid
                && Keyword::from_word(
                    node.span
                        .of(self.text)
                        .split_whitespace()
                        .next()
                        .unwrap_or(""),
                )
                .is_some_and(is_from)
        });
        if invalid_from {
            return;
        }
        if let Some(early) = before
            .iter()
            .find(|instruction| instruction.keyword.value != Keyword::Arg)
        {
            let message = format!("{} before the first FROM", early.keyword.value);
            self.diagnostics.push(
                Diagnostic::error(early.keyword.span, message, "no stage has begun")
                    .with_help("only ARG may stand before the first FROM"),
            );
        } else if first_from.is_none() && !self.diagnostics.iter().any(Diagnostic::is_error) {
            let message = if before.is_empty() {
                "the file has no instructions"
            } else {
                "the file has no FROM: there is nothing to build"
            };
            let end = self.text.len();
            self.diagnostics.push(
                Diagnostic::error(Span::new(end, end), message, "the end of the file")
                    .with_help("begin a stage with `FROM image` or `FROM scratch`"),
            );
        }
    }

    fn check_trigger(&mut self) {
        for (position, instruction) in self.tree.instructions.iter().enumerate() {
            let keyword = &instruction.keyword;
            match keyword.value {
                Keyword::From | Keyword::Maintainer | Keyword::Onbuild => {
                    let message = format!("{} is not allowed as an ONBUILD trigger", keyword.value);
                    self.diagnostics.push(Diagnostic::error(
                        keyword.span,
                        message,
                        "not a trigger",
                    ));
                }
                _ if position == 1 => {
                    let message = "an ONBUILD trigger is a single instruction";
                    self.diagnostics.push(Diagnostic::error(
                        keyword.span,
                        message,
                        "the second instruction",
                    ));
                }
                _ => {}
            }
        }
        if self.tree.instructions.is_empty() && !self.diagnostics.iter().any(Diagnostic::is_error) {
            let span = Span::new(0, self.text.len());
            self.diagnostics.push(Diagnostic::error(
                span,
                "the ONBUILD trigger is empty",
                "no instruction",
            ));
        }
    }

    /// Where the line after the one that begins at `start` begins.
    fn line_end(&self, start: usize) -> usize {
        self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |newline| start + newline + 1)
    }

    /// The line that begins at `start`, without its end (P11).
    fn line_content(&self, start: usize) -> Range<usize> {
        let line = &self.text[start..self.line_end(start)];
        start..start + line.trim_end_matches(['\r', '\n']).len()
    }

    /// The same without white space at either end.
    fn trimmed_line(&self, start: usize) -> Span {
        let content = self.line_content(start);
        let text = &self.text[content.clone()];
        let trimmed = text.trim_start();
        let begin = content.end - trimmed.len();
        Span::new(begin, begin + trimmed.trim_end().len())
    }
}

/// The text before a line's continuation (P6): an escape character at the end of the line, blanks
/// after it allowed, another escape character before it not.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

/// Reads a trimmed line as `# key = value` with a key that is known and a value that is not empty.
fn directive(text: &str, span: Span) -> Option<(DirectiveKind, Spanned<String>)> {
    let line = span.of(text);
    let (key, value) = line.strip_prefix('#')?.split_once('=')?;
    let value = value.trim_start();
    let key = key.trim();
    let kind = [
        DirectiveKind::Syntax,
        DirectiveKind::Escape,
        DirectiveKind::Check,
    ]
    .into_iter()
    .find(|kind| kind.name().eq_ignore_ascii_case(key))?;
    (!value.is_empty()).then(|| {
        (
            kind,
            Spanned::new(
                value.to_owned(),
                Span::new(span.end - value.len(), span.end),
            ),
        )
    })
}

/// The frontend that a file in another syntax asks for.
fn foreign_syntax(text: &str) -> Option<String> {
    let first = text.lines().next()?.trim();
    if let Some((key, value)) = first
        .strip_prefix("//")
        .and_then(|line| line.split_once('='))
    {
        return key
            .trim()
            .eq_ignore_ascii_case("syntax")
            .then(|| value.trim().to_owned());
    }
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    object.get("syntax")?.as_str().map(str::to_owned)
}

/// Where here-documents may be announced (H1): in the arguments after the flags of RUN, COPY and
/// ADD, also below ONBUILD, but never in JSON form.
fn heredoc_place(line: &Line, whole: Range<usize>) -> Option<(Keyword, Range<usize>)> {
    let (word, arguments) = split_keyword(line, whole);
    match Keyword::from_word(line.str(word))? {
        Keyword::Onbuild => {
            let (word, _) = split_keyword(line, arguments.clone());
            match Keyword::from_word(line.str(word))? {
                Keyword::Onbuild => None,
                _ => heredoc_place(line, arguments),
            }
        }
        keyword @ (Keyword::Run | Keyword::Copy | Keyword::Add) => {
            let (_, rest) = take_flags(line, arguments);
            match json_form(line, rest.clone()) {
                JsonForm::Other => Some((keyword, rest)),
                JsonForm::Strings(_) | JsonForm::NotOnlyStrings => None,
            }
        }
        _ => None,
    }
}

/// An instruction's first word, and the rest without white space around it.
pub(crate) fn split_keyword(line: &Line, range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let range = line.trim(range);
    let text = line.str(range.clone());
    let word_length = text.find(crate::words::is_blank).unwrap_or(text.len());
    let word = range.start..range.start + word_length;
    (word.clone(), line.trim(word.end..range.end))
}

/// What [`read_instruction`] finds: the keyword, the arguments, and their meaning.
pub(crate) type Reading = (Spanned<Keyword>, Spanned<String>, InstructionKind);
