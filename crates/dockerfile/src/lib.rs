//! The text: Dockerfile text to a tree with spans, variable expansion, ignore patterns, and the
//! rules that a text alone can break.
//!
//! Everything here is a function of its arguments: text in, data out. This crate knows no files,
//! registries, images or stages; it does not decide which instructions kiln can carry out, only
//! what the text says. Rows such as P7 or H3 in comments are the rows of the dialect checklist
//! that the tests under `tests/dockerfiles/` re-express.

mod ast;
pub mod chmod;
pub mod chown;
mod diagnostic;
pub mod duration;
mod expand;
pub mod expose;
mod flags;
pub mod frontend;
pub mod glob;
mod heredoc;
pub mod ignore;
mod instruction;
mod json;
mod line;
pub mod lint;
pub mod mount;
mod parse;
pub mod remote;
mod rule;
mod shell_pattern;
pub mod signal;
pub mod size;
mod span;
pub mod suggest;
mod words;

pub use ast::{
    AddInstruction, ArgDeclaration, CommandForm, CopyInstruction, CopySource, Directive,
    DirectiveKind, Dockerfile, FromInstruction, Healthcheck, HealthcheckCommand, Heredoc,
    InlineFile, Instruction, InstructionKind, Keyword, Node, NodeKind, OnbuildInstruction,
    PIPES_DIRECTORY, Pair, PairForm, Pairs, RunInstruction,
};
pub use diagnostic::{Diagnostic, Severity};
pub use expand::{
    EXPANSION_BYTES_MAX, EXPANSION_DEPTH_MAX, ExpandError, ExpandErrorKind, Expansion, Variables,
    expand, expand_heredoc, expand_words,
};
pub use instruction::WORDS_MAX;
pub use parse::{DIAGNOSTICS_MAX, Parse, TEXT_BYTES_MAX, parse, parse_onbuild};
pub use rule::Rule;
pub use shell_pattern::{PATTERN_CHARS_MAX, PatternError};
pub use span::{LineColumn, Span, Spanned};
