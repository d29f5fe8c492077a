//! The tree: what a Dockerfile says, each part with its place in the text.
//!
//! Strings are *raw words*: quotes, escapes and `$` are as written, and [`crate::expand()`] turns
//! a raw word into its value wherever spec row V1 says that an argument is expanded. Text for a
//! shell (RUN, CMD, ENTRYPOINT, HEALTHCHECK) is never expanded here or there.

use std::fmt;

use crate::{Span, Spanned};

/// A whole file. Only instructions without an error are in `instructions`; `nodes` covers every
/// byte of the text, the wrong ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character: a backslash unless `# escape=` says otherwise.
    pub escape: char,
    /// Parser directives, in the order of the text.
    pub directives: Vec<Directive>,
    /// Everything in the text, in order, without gaps or overlaps.
    pub nodes: Vec<Node>,
    /// The instructions that could be understood, in order.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The directive of this kind, if the text has one.
    pub fn directive(&self, kind: DirectiveKind) -> Option<&Directive> {
        self.directives
            .iter()
            .find(|directive| directive.kind == kind)
    }
}

/// One `# key=value` line at the top of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The whole line without its end.
    pub span: Span,
    /// Which directive.
    pub kind: DirectiveKind,
    /// The text after `=`, trimmed; case kept.
    pub value: Spanned<String>,
}

/// The directives of the dialect (P2); any other comment ends the search for directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DirectiveKind {
    /// `# syntax=`: the frontend that the author wrote for. A hint; never fetched.
    Syntax,
    /// `# escape=`: a backslash or a backtick.
    Escape,
    /// `# check=`: settings for lint rules.
    Check,
}

impl DirectiveKind {
    /// The key as it is usually written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }
}

/// A piece of the text. All nodes together are the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The bytes, the end of the last line included.
    pub span: Span,
    /// What they are.
    pub kind: NodeKind,
}

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// U+FEFF before everything else (P1).
    ByteOrderMark,
    /// A `#!` first line (P1).
    Shebang,
    /// A parser directive: index into [`Dockerfile::directives`].
    Directive(usize),
    /// A comment line.
    Comment,
    /// A line of white space.
    Blank,
    /// An instruction with its continuation lines, the comments inside them and its heredoc
    /// bodies: index into [`Dockerfile::instructions`].
    Instruction(usize),
    /// Text with an error that keeps it from being an instruction or a directive.
    Invalid,
}

/// The first word of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the instruction of its name")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

impl Keyword {
    /// All of them, in the order of the alphabet.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// The keyword in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// The keyword that `word` spells, in whatever case (P15).
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|keyword| keyword.name().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// From the keyword to the end of the last line, without that line's end; heredoc bodies
    /// included.
    pub span: Span,
    /// The first word.
    pub keyword: Spanned<Keyword>,
    /// Everything after the keyword, flags included, with continuation lines joined and comments
    /// removed; no heredoc bodies. What a history line is made from (I10).
    pub arguments: Spanned<String>,
    /// What it says.
    pub kind: InstructionKind,
    /// Its here-documents, in order.
    pub heredocs: Vec<Heredoc>,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ADD`
    Add(AddInstruction),
    /// `ARG a b=1`: at least one declaration.
    Arg(Vec<ArgDeclaration>),
    /// `CMD`
    Cmd(CommandForm),
    /// `COPY`
    Copy(CopyInstruction),
    /// `ENTRYPOINT`
    Entrypoint(CommandForm),
    /// `ENV`
    Env(Pairs),
    /// `EXPOSE`: raw words; each is expanded, split again (V12) and given to [`crate::expose`].
    Expose(Vec<Spanned<String>>),
    /// `FROM`
    From(FromInstruction),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Pairs),
    /// `MAINTAINER`: the rest of the line.
    Maintainer(Spanned<String>),
    /// `ONBUILD`
    Onbuild(OnbuildInstruction),
    /// `RUN`
    Run(RunInstruction),
    /// `SHELL`: the words of the JSON array; at least one.
    Shell(Vec<Spanned<String>>),
    /// `STOPSIGNAL`: raw; expanded and given to [`crate::signal`].
    StopSignal(Spanned<String>),
    /// `USER`: the rest of the line.
    User(Spanned<String>),
    /// `VOLUME`: raw words.
    Volume(Vec<Spanned<String>>),
    /// `WORKDIR`: the rest of the line, blanks inside included.
    Workdir(Spanned<String>),
}

/// `FROM [--platform=P] image [AS name]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromInstruction {
    /// Raw, to be expanded with global arguments only.
    pub platform: Option<Spanned<String>>,
    /// Raw, to be expanded with global arguments only.
    pub image: Spanned<String>,
    /// Lower-cased and checked (P17). Its place is that of the name as written.
    pub name: Option<Spanned<String>>,
}

/// `RUN [flags] command`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// `--mount=`: each value raw, to be read by the planner.
    pub mounts: Vec<Spanned<String>>,
    /// `--network=`
    pub network: Option<Spanned<String>>,
    /// `--security=`
    pub security: Option<Spanned<String>>,
    /// `--device=`
    pub devices: Vec<Spanned<String>>,
    /// What to run. For a shell form with here-documents this is already what the shell is to be
    /// given: the body of a lone one (H5), the path of a script (H6), or the line with the bodies
    /// put back (H7). Empty for a bare `RUN`, which is allowed and makes a layer (P15).
    pub command: CommandForm,
    /// The command as it is written behind the flags, on one line.
    pub written: String,
    /// Files that must be there, read-only and executable (0755), in [`PIPES_DIRECTORY`] while the
    /// command runs. At most one: the script of a lone `#!` here-document (H6).
    pub files: Vec<InlineFile>,
}

/// Where the files of [`RunInstruction::files`] are expected (H6).
pub const PIPES_DIRECTORY: &str = "/dev/pipes";

/// A command, to be wrapped in the stage's SHELL or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandForm {
    /// One string for the shell.
    Shell(Spanned<String>),
    /// A JSON array: the words as they are. Empty for `[]` (I2).
    Exec(Vec<Spanned<String>>),
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// The file's name: the here-document's word without quotes. Its place is the whole `<<word`.
    pub name: Spanned<String>,
    /// The body, with leading tabs stripped for `<<-`; line ends as in the text (P11).
    pub content: String,
    /// Whether build variables are to be replaced in the content, with
    /// [`crate::expand_heredoc`] (H9). False when the word was quoted (H10), and for RUN.
    pub expand: bool,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A raw word: a path or pattern, for ADD perhaps a URL.
    Path(Spanned<String>),
    /// A here-document (H8).
    Inline(InlineFile),
}

/// `COPY [flags] source… destination`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInstruction {
    /// `--from=`: never expanded (V1).
    pub from: Option<Spanned<String>>,
    /// `--chown=`: raw; see [`crate::chown`].
    pub chown: Option<Spanned<String>>,
    /// `--chmod=`: raw; see [`crate::chmod`].
    pub chmod: Option<Spanned<String>>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude=`: patterns, never expanded (V1).
    pub excludes: Vec<Spanned<String>>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// Raw.
    pub destination: Spanned<String>,
}

/// `ADD [flags] source… destination`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddInstruction {
    /// `--chown=`: raw; see [`crate::chown`].
    pub chown: Option<Spanned<String>>,
    /// `--chmod=`: raw; see [`crate::chmod`].
    pub chmod: Option<Spanned<String>>,
    /// `--link`
    pub link: bool,
    /// `--exclude=`: patterns, never expanded (V1).
    pub excludes: Vec<Spanned<String>>,
    /// `--checksum=`: raw.
    pub checksum: Option<Spanned<String>>,
    /// `--keep-git-dir`, where it was given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, where it was given.
    pub unpack: Option<bool>,
    /// At least one.
    pub sources: Vec<CopySource>,
    /// Raw.
    pub destination: Spanned<String>,
}

/// One name of an ARG line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Never empty.
    pub name: Spanned<String>,
    /// Raw text after `=`; absent without `=`, which is not the same as empty (A2).
    pub default: Option<Spanned<String>>,
}

/// The arguments of ENV and LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// At least one; exactly one in the legacy form.
    pub pairs: Vec<Pair>,
    /// How they were written.
    pub form: PairForm,
}

/// One key and its value, both raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Never empty.
    pub key: Spanned<String>,
    /// May be empty.
    pub value: Spanned<String>,
}

/// How the arguments of ENV or LABEL were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairForm {
    /// `key=value …`
    Equals,
    /// `key the rest of the line` (P13)
    Legacy,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [flags] CMD command`
    Check(HealthcheckCommand),
}

/// A health check. Times are nanoseconds, as in the image configuration; 0 and absent both mean
/// "inherit" (I4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthcheckCommand {
    /// `--interval=`
    pub interval: Option<Spanned<u64>>,
    /// `--timeout=`
    pub timeout: Option<Spanned<u64>>,
    /// `--start-period=`
    pub start_period: Option<Spanned<u64>>,
    /// `--start-interval=`
    pub start_interval: Option<Spanned<u64>>,
    /// `--retries=`
    pub retries: Option<Spanned<u32>>,
    /// Never empty.
    pub command: CommandForm,
}

/// `ONBUILD instruction`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// The trigger as it is stored in the image configuration: the instruction on one line, and
    /// after it the bodies of its here-documents (H13).
    pub text: String,
    /// The same, understood. Never FROM, MAINTAINER or ONBUILD (I9).
    pub inner: Box<Instruction>,
}

/// A here-document of RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word without quotes.
    pub name: String,
    /// `<<word` in the instruction's line.
    pub span: Span,
    /// Whether no part of the word was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are stripped from the body and allowed before the terminator (H3).
    pub strip_tabs: bool,
    /// The number before `<<`; 0 when there is none.
    pub file_descriptor: u32,
    /// The lines of the body as written.
    pub body: Spanned<String>,
    /// The terminator's line, without its end.
    pub terminator: Span,
}

impl Heredoc {
    /// The body as its reader gets it: for `<<-` without the tabs that begin each line.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.body.value.clone();
        }
        self.body
            .value
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}
