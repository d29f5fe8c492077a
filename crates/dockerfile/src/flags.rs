//! The flags of the dialect: which instruction takes which, how often, and with what kind of
//! value (P14). All of them are known here; what cannot be carried out is refused by the planner.

use std::ops::Range;

use crate::instruction::{Context, WORDS_MAX, excerpt};
use crate::suggest::nearest;
use crate::words::{FlagWord, take_flags};
use crate::{Keyword, Span, Spanned};

/// A flag of some instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlagKind {
    Checksum,
    Chmod,
    Chown,
    Device,
    Exclude,
    From,
    Interval,
    KeepGitDir,
    Link,
    Mount,
    Network,
    Parents,
    Platform,
    Retries,
    Security,
    StartInterval,
    StartPeriod,
    Timeout,
    Unpack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// True or false; without a value, true.
    Switch,
    /// One value, once.
    Value,
    /// A value, any number of times.
    Values,
}

impl FlagKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Chmod => "chmod",
            Self::Chown => "chown",
            Self::Device => "device",
            Self::Exclude => "exclude",
            Self::From => "from",
            Self::Interval => "interval",
            Self::KeepGitDir => "keep-git-dir",
            Self::Link => "link",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Parents => "parents",
            Self::Platform => "platform",
            Self::Retries => "retries",
            Self::Security => "security",
            Self::StartInterval => "start-interval",
            Self::StartPeriod => "start-period",
            Self::Timeout => "timeout",
            Self::Unpack => "unpack",
        }
    }

    fn takes(self) -> Takes {
        match self {
            Self::KeepGitDir | Self::Link | Self::Parents | Self::Unpack => Takes::Switch,
            Self::Device | Self::Exclude | Self::Mount => Takes::Values,
            Self::Checksum
            | Self::Chmod
            | Self::Chown
            | Self::From
            | Self::Interval
            | Self::Network
            | Self::Platform
            | Self::Retries
            | Self::Security
            | Self::StartInterval
            | Self::StartPeriod
            | Self::Timeout => Takes::Value,
        }
    }
}

/// The flags that an instruction takes.
fn flags_of(keyword: Keyword) -> &'static [FlagKind] {
    use FlagKind as F;
    match keyword {
        Keyword::Add => &[
            F::Checksum,
            F::Chmod,
            F::Chown,
            F::Exclude,
            F::KeepGitDir,
            F::Link,
            F::Unpack,
        ],
        Keyword::Copy => &[F::Chmod, F::Chown, F::Exclude, F::From, F::Link, F::Parents],
        Keyword::From => &[F::Platform],
        Keyword::Healthcheck => &[
            F::Interval,
            F::Retries,
            F::StartInterval,
            F::StartPeriod,
            F::Timeout,
        ],
        Keyword::Run => &[F::Device, F::Mount, F::Network, F::Security],
        Keyword::Arg
        | Keyword::Cmd
        | Keyword::Entrypoint
        | Keyword::Env
        | Keyword::Expose
        | Keyword::Label
        | Keyword::Maintainer
        | Keyword::Onbuild
        | Keyword::Shell
        | Keyword::StopSignal
        | Keyword::User
        | Keyword::Volume
        | Keyword::Workdir => &[],
    }
}

/// The flags of one instruction, and its arguments without them.
#[derive(Debug)]
pub(crate) struct FlagSet {
    given: Vec<(FlagKind, Spanned<String>)>,
    first_word: Option<Span>,
    pub(crate) rest: Range<usize>,
}

impl FlagSet {
    /// Takes the flags off the front of the arguments. Nothing means that a diagnostic says why;
    /// all wrong flags are reported, not only the first.
    pub(crate) fn take(
        context: &mut Context<'_>,
        keyword: Keyword,
        arguments: Range<usize>,
    ) -> Option<Self> {
        let (words, rest) = take_flags(context.line, arguments);
        if words.len() > WORDS_MAX {
            let span = context.line.span(words[0].word.clone());
            let message = format!("{keyword} has {} flags, more than {WORDS_MAX}", words.len());
            return context.error(span, message, "too many flags");
        }
        let mut set = Self {
            given: Vec::new(),
            first_word: None,
            rest,
        };
        set.first_word = words
            .first()
            .map(|flag| context.line.span(flag.word.clone()));
        let mut complete = true;
        for flag in words {
            complete &= set.add(context, keyword, flag).is_some();
        }
        complete.then_some(set)
    }

    fn add(&mut self, context: &mut Context<'_>, keyword: Keyword, flag: FlagWord) -> Option<()> {
        let word = context.line.span(flag.word.clone());
        if let Some(open) = flag.open_quote {
            let message = "a quote in a flag is not closed";
            let help = "as it is, the flag goes on to the end of the instruction";
            let open = context.line.span(open);
            return context.error_with_help(open, message, "opened here", help);
        }
        let known = flags_of(keyword);
        let Some(kind) = known.iter().copied().find(|kind| kind.name() == flag.name) else {
            let message = format!("{keyword} has no flag `--{}`", excerpt(&flag.name));
            let help = match nearest(&flag.name, known.iter().map(|kind| kind.name())) {
                Some(name) => format!("did you mean `--{name}`?"),
                None if known.is_empty() => format!("{keyword} takes no flags"),
                None => {
                    let names: Vec<String> = known
                        .iter()
                        .map(|kind| format!("`--{}`", kind.name()))
                        .collect();
                    format!("{keyword} takes {}", names.join(", "))
                }
            };
            return context.error_with_help(word, message, "unknown flag", help);
        };
        let takes = kind.takes();
        if takes != Takes::Values && self.given.iter().any(|(given, _)| *given == kind) {
            let message = format!("the flag `--{}` can be used only once", flag.name);
            return context.error(word, message, "the second one");
        }
        let value = match (takes, flag.value) {
            (Takes::Switch, None) => "true".to_owned(),
            (Takes::Switch, Some(value))
                if ["true", "false"]
                    .iter()
                    .any(|known| value.eq_ignore_ascii_case(known)) =>
            {
                value.to_ascii_lowercase()
            }
            (Takes::Switch, Some(value)) => {
                let message = if value.is_empty() {
                    format!("the flag `--{}` has `=` but no value", flag.name)
                } else {
                    format!(
                        "the flag `--{}` is true or false, not `{}`",
                        flag.name,
                        excerpt(&value)
                    )
                };
                return context.error(word, message, "expected true or false");
            }
            (Takes::Value | Takes::Values, Some(value)) => value,
            (Takes::Value | Takes::Values, None) => {
                let message = format!("the flag `--{}` needs a value", flag.name);
                let help = format!("write --{}=value", flag.name);
                return context.error_with_help(word, message, "no value", help);
            }
        };
        self.given.push((
            kind,
            Spanned::new(value, context.line.span(flag.value_range)),
        ));
        Some(())
    }

    /// The value of a flag that is given at most once.
    pub(crate) fn one(&mut self, kind: FlagKind) -> Option<Spanned<String>> {
        self.all(kind).pop()
    }

    /// The values of a flag, in order.
    pub(crate) fn all(&mut self, kind: FlagKind) -> Vec<Spanned<String>> {
        self.given
            .extract_if(.., |(given, _)| *given == kind)
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a switch, where it was given.
    pub(crate) fn switch(&mut self, kind: FlagKind) -> Option<bool> {
        self.one(kind).map(|value| value.value == "true")
    }

    /// Where the first flag stands.
    pub(crate) fn first_span(&self) -> Option<Span> {
        self.first_word
    }
}
