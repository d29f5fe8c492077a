//! The rules that a Dockerfile is checked against, under the names that BuildKit gave them.
//!
//! A rule is only a name here. What breaks one is found where it can be seen: in the text, or
//! while stages and steps are made of it.

use std::fmt;

/// A rule. `# check=skip=` and `docs/lint/` call it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each has its page and its sentence below")]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidBaseImagePlatform,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JSONArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

impl Rule {
    /// All of them, in the order of the alphabet.
    pub const ALL: [Self; 22] = [
        Self::ConsistentInstructionCasing,
        Self::CopyIgnoredFile,
        Self::DuplicateStageName,
        Self::ExposeInvalidFormat,
        Self::ExposeProtoCasing,
        Self::FromAsCasing,
        Self::FromPlatformFlagConstDisallowed,
        Self::InvalidBaseImagePlatform,
        Self::InvalidDefaultArgInFrom,
        Self::InvalidDefinitionDescription,
        Self::JSONArgsRecommended,
        Self::LegacyKeyValueFormat,
        Self::MaintainerDeprecated,
        Self::MultipleInstructionsDisallowed,
        Self::NoEmptyContinuation,
        Self::RedundantTargetPlatform,
        Self::ReservedStageName,
        Self::SecretsUsedInArgOrEnv,
        Self::StageNameCasing,
        Self::UndefinedArgInFrom,
        Self::UndefinedVar,
        Self::WorkdirRelativePath,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::JSONArgsRecommended => "JSONArgsRecommended",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::ReservedStageName => "ReservedStageName",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::StageNameCasing => "StageNameCasing",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::UndefinedVar => "UndefinedVar",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
        }
    }

    /// What it asks for, in one sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::ConsistentInstructionCasing => {
                "All instructions are written in capitals, or all in small letters."
            }
            Self::CopyIgnoredFile => "COPY and ADD do not name what the ignore file leaves out.",
            Self::DuplicateStageName => "Every stage has a name of its own.",
            Self::ExposeInvalidFormat => {
                "EXPOSE names ports of the container, not addresses or ports of a host."
            }
            Self::ExposeProtoCasing => "The protocol in EXPOSE is written in small letters.",
            Self::FromAsCasing => "AS is written in the case of its FROM.",
            Self::FromPlatformFlagConstDisallowed => {
                "FROM --platform has a variable, or the stage's name says which platform it is for."
            }
            Self::InvalidBaseImagePlatform => "A base image is for the platform that is built for.",
            Self::InvalidDefaultArgInFrom => {
                "FROM names an image when only the defaults of its arguments are used."
            }
            Self::InvalidDefinitionDescription => {
                "A comment right above ARG or FROM begins with the name that it describes."
            }
            Self::JSONArgsRecommended => {
                "CMD and ENTRYPOINT are JSON arrays, so that signals reach the program."
            }
            Self::LegacyKeyValueFormat => "ENV and LABEL have `=` between key and value.",
            Self::MaintainerDeprecated => "Who made the image stands in a label.",
            Self::MultipleInstructionsDisallowed => {
                "A stage has at most one CMD, one ENTRYPOINT and one HEALTHCHECK."
            }
            Self::NoEmptyContinuation => "A continued instruction has no empty lines.",
            Self::RedundantTargetPlatform => {
                "FROM does not ask for $TARGETPLATFORM, which it gets anyway."
            }
            Self::ReservedStageName => "No stage is called `context` or `scratch`.",
            Self::SecretsUsedInArgOrEnv => "Secrets are mounted, not passed by ARG or ENV.",
            Self::StageNameCasing => "Names of stages are written in small letters.",
            Self::UndefinedArgInFrom => "FROM uses only arguments that stand above it.",
            Self::UndefinedVar => "A variable is set before it is used.",
            Self::WorkdirRelativePath => "The first WORKDIR of a stage is an absolute path.",
        }
    }

    /// Whether it is checked only where it is asked for.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    /// The rule of a name, in whatever case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
