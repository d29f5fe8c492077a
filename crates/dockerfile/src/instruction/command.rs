//! RUN, CMD, ENTRYPOINT and SHELL: text for a shell, or words.

use std::ops::Range;

use super::{Context, excerpt};
use crate::flags::{FlagKind, FlagSet};
use crate::heredoc::heredoc_word;
use crate::{CommandForm, Heredoc, InlineFile, Keyword, PIPES_DIRECTORY, RunInstruction, Spanned};

impl Context<'_> {
    pub(super) fn command(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<CommandForm> {
        Some(match self.json(keyword, rest.clone())? {
            Some(words) => CommandForm::Exec(words),
            None => CommandForm::Shell(self.line.spanned(rest)),
        })
    }

    pub(super) fn run(
        &mut self,
        keyword: &Spanned<Keyword>,
        flags: &mut FlagSet,
    ) -> Option<RunInstruction> {
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
            written: self.line.str(flags.rest.clone()).to_owned(),
            files,
        })
    }

    /// What the shell gets for a line with here-documents (H5-H7), and the script beside it.
    pub(super) fn shell_text(
        &mut self,
        line: &str,
        first: &Heredoc,
    ) -> Option<(String, Option<InlineFile>)> {
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
    pub(super) fn append_bodies(&self, text: &mut String) {
        for heredoc in self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.body.value);
            text.push_str(&heredoc.name);
        }
    }

    /// The name of a here-document that becomes a file must not lead elsewhere.
    pub(super) fn check_file_name(&mut self, heredoc: &Heredoc) -> Option<()> {
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

    pub(super) fn shell(
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
}
