//! ARG, ENV and LABEL: names with values.

use std::ops::Range;

use super::{Context, excerpt};
use crate::parse::split_keyword;
use crate::words::outside_quotes;
use crate::{ArgDeclaration, Keyword, Pair, PairForm, Pairs, Spanned};

impl Context<'_> {
    pub(super) fn arg(
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

    pub(super) fn name(
        &mut self,
        keyword: &Spanned<Keyword>,
        name: Range<usize>,
    ) -> Option<Spanned<String>> {
        if name.is_empty() {
            let span = self.line.span(name.start..name.start + 1);
            let message = format!("a name of {} cannot be empty", keyword.value);
            return self.error(span, message, "no name before `=`");
        }
        Some(self.line.spanned(name))
    }

    pub(super) fn pairs(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Pairs> {
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
    pub(super) fn legacy_pair(
        &mut self,
        keyword: &Spanned<Keyword>,
        rest: Range<usize>,
    ) -> Option<Pairs> {
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
}
