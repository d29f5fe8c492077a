//! COPY and ADD: sources, a destination, and here-documents among the sources.

use std::ops::Range;

use super::Context;
use crate::flags::{FlagKind, FlagSet};
use crate::heredoc::heredoc_word;
use crate::words::between_blanks;
use crate::{AddInstruction, CopyInstruction, CopySource, InlineFile, Keyword, Spanned};

impl Context<'_> {
    pub(super) fn copy(
        &mut self,
        keyword: &Spanned<Keyword>,
        flags: &mut FlagSet,
    ) -> Option<CopyInstruction> {
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

    pub(super) fn add(
        &mut self,
        keyword: &Spanned<Keyword>,
        flags: &mut FlagSet,
    ) -> Option<AddInstruction> {
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

    pub(super) fn sources(
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
}
