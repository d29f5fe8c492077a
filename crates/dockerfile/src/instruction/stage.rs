//! FROM and ONBUILD: where a stage begins, and what it leaves to the stages built on it.

use std::ops::Range;

use super::{Context, excerpt, read_instruction};
use crate::flags::{FlagKind, FlagSet};
use crate::parse::split_keyword;
use crate::words::between_blanks;
use crate::{FromInstruction, Instruction, Keyword, OnbuildInstruction, Spanned};

impl Context<'_> {
    pub(super) fn from(
        &mut self,
        keyword: &Spanned<Keyword>,
        flags: &mut FlagSet,
    ) -> Option<FromInstruction> {
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

    pub(super) fn onbuild(
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
