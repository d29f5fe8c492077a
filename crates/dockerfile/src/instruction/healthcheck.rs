//! HEALTHCHECK: a command, and how often to run it.

use super::Context;
use crate::flags::{FlagKind, FlagSet};
use crate::parse::split_keyword;
use crate::{CommandForm, Healthcheck, HealthcheckCommand, Keyword, Spanned, duration};

/// The shortest time between health checks that engines accept, in nanoseconds (I4).
const HEALTHCHECK_TIME_MIN: i64 = 1_000_000;

impl Context<'_> {
    pub(super) fn healthcheck(
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
    pub(super) fn healthcheck_time(
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

    pub(super) fn healthcheck_retries(
        &mut self,
        flags: &mut FlagSet,
    ) -> Option<Option<Spanned<u32>>> {
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
}
