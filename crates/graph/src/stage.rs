//! Stages: which of them the target needs, and which images must be looked up for that.
//!
//! A base image may carry triggers (ONBUILD), and a trigger may copy from a stage that nothing
//! else needs or from yet another image. So pinning answers either with a set in which every image
//! is known, or with a larger set of names:
//!
//! ```text
//! stages(tree) → StageSet<ImageName> ──pin──→ Pinned::All(StageSet<BaseImage>) → lower
//!                     ↑                 └───→ Pinned::More(StageSet<ImageName>) ─┐
//!                     └──────────────────────────────────────────────────────────┘
//! ```

mod built;
mod tables;

use std::collections::BTreeMap;

use dockerfile::{
    Diagnostic, Dockerfile, ExpandError, FromInstruction, Instruction, InstructionKind, Span,
    Spanned, expand, mount,
};
use oci::{Platform, Reference};

pub(crate) use self::built::BuiltBase;
use crate::from_rules::{self, GlobalArguments};
use crate::platform::not_a_platform;
use crate::scope::Scope;
use crate::{BaseImage, ImageName, NamedContext, Origin, Request, TargetImage};

/// The stages that a target needs. `B` is what is known of the images: their names, or everything.
#[derive(Debug, Clone)]
pub struct StageSet<B> {
    pub(crate) source: Source,
    /// In the order of the file; the target is the last.
    pub(crate) stages: Vec<Stage>,
    pub(crate) images: Vec<NamedImage<B>>,
    /// The named contexts whose files are needed.
    pub(crate) contexts: Vec<String>,
    /// The images of the same build that are needed.
    pub(crate) built: Vec<TargetImage>,
    /// Nobody looked the images up: what depends on them is not known.
    pub(crate) images_are_assumed: bool,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// An image that a needed stage names, by FROM or by `COPY --from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage<B> {
    /// The image.
    pub image: B,
    /// The platform to look it up for (F11, F13).
    pub platform: Platform,
    /// Where the Dockerfile names it first.
    pub span: Span,
}

/// What is known once the images of a set have been looked up.
#[derive(Debug, Clone)]
pub enum Pinned {
    /// Everything.
    All(StageSet<BaseImage>),
    /// That triggers of these images need more images. The set names the old ones too.
    More(StageSet<ImageName>),
}

impl<B> StageSet<B> {
    /// The images, each name and platform once, in the order of the file.
    pub fn images(&self) -> &[NamedImage<B>] {
        &self.images
    }

    /// The names of the needed stages in the order of the file, `stage-N` for those without one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.shown.as_str())
    }
}

impl StageSet<ImageName> {
    /// Puts facts in place of names. `look_up` is asked once for each image of the set.
    pub fn pin(
        &self,
        mut look_up: impl FnMut(&ImageName, &Platform) -> BaseImage,
    ) -> Result<Pinned, Vec<Diagnostic>> {
        let known: Vec<NamedImage<BaseImage>> = self
            .images
            .iter()
            .map(|named| NamedImage {
                image: look_up(&named.image, &named.platform),
                platform: named.platform.clone(),
                span: named.span,
            })
            .collect();
        let fact = |reference: &ImageName, platform: &Platform| {
            let place = self
                .images
                .iter()
                .position(|named| named.image == *reference && named.platform == *platform)?;
            known.get(place)
        };
        let more = self.source.resolve(&fact)?;
        let pinned: Option<Vec<NamedImage<BaseImage>>> = more
            .images
            .iter()
            .map(|named| fact(&named.image, &named.platform).cloned())
            .collect();
        Ok(match pinned {
            None => Pinned::More(more),
            Some(images) => Pinned::All(StageSet {
                source: more.source,
                stages: more.stages,
                images,
                contexts: more.contexts,
                built: more.built,
                images_are_assumed: false,
                warnings: more.warnings,
            }),
        })
    }
}

/// Finds the stages and images that the target of a request needs. The tree must be one without
/// errors. Warnings travel with the set and come out of lowering.
pub fn stages(
    tree: &Dockerfile,
    request: &Request,
) -> Result<StageSet<ImageName>, Vec<Diagnostic>> {
    Source::read(tree, request)?.resolve(&|_, _| None)
}

/// The same for every stage, whether the last one needs it or not: what is checked where nothing is
/// built (F10).
pub fn all_stages(
    tree: &Dockerfile,
    request: &Request,
) -> Result<StageSet<ImageName>, Vec<Diagnostic>> {
    let mut source = Source::read(tree, request)?;
    source.all_are_needed = true;
    source.resolve(&|_, _| None)
}

/// The stages of a request that names a target, else all of them, where nobody will look the images
/// up: a FROM that only a build argument makes the name of an image is taken for one.
pub(crate) fn stages_to_check(
    tree: &Dockerfile,
    request: &Request,
) -> Result<StageSet<ImageName>, Vec<Diagnostic>> {
    let mut source = Source::read(tree, request)?;
    source.all_are_needed = request.target.is_none();
    source.assumes_images = true;
    source.resolve(&|_, _| None)
}

/// The Dockerfile in stages, all of them, with the values that FROM lines are expanded with.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) escape: char,
    pub(crate) globals: Scope,
    pub(crate) stages: Vec<SourceStage>,
    target: usize,
    pub(crate) platform: Platform,
    /// `--build-context`, by name in lower case.
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    /// Names that any ARG of the file declares.
    pub(crate) declared: Vec<String>,
    /// Those that the target does not need are wanted too.
    all_are_needed: bool,
    /// Nobody will look for the images.
    pub(crate) assumes_images: bool,
    warnings: Vec<Diagnostic>,
}

#[derive(Debug, Clone)]
pub(crate) struct SourceStage {
    pub(crate) from: FromInstruction,
    pub(crate) span: Span,
    instructions: Vec<Instruction>,
}

/// A needed stage.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The name, or `stage-N`.
    pub(crate) shown: String,
    /// FROM.
    pub(crate) span: Span,
    pub(crate) base: StageBase,
    pub(crate) platform: Platform,
    /// Triggers first.
    pub(crate) instructions: Vec<Planned>,
}

/// What a stage begins with: nothing, a place in [`StageSet::stages`], or one in its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StageBase {
    Scratch,
    Stage(usize),
    Image(usize),
    /// All files of one of [`StageSet::contexts`].
    Context(usize),
    /// One of [`StageSet::built`].
    Built(usize),
}

/// An instruction of a stage, whoever wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) instruction: Instruction,
    pub(crate) origin: Origin,
    /// Where to point at, for an instruction that is not in the text.
    pub(crate) elsewhere: Option<Span>,
    /// What its `from` words mean, in their order: the one of `COPY --from`, those of the mounts
    /// of a RUN.
    pub(crate) files_of: Vec<FilesOf>,
}

/// Whose files a `from` means: as in [`StageBase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilesOf {
    /// Of nobody: `scratch`.
    Scratch,
    Stage(usize),
    Image(usize),
    /// One of [`StageSet::contexts`].
    Context(usize),
    /// One of [`StageSet::built`].
    Built(usize),
}

/// Where a `from` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FromWord {
    /// `COPY --from=`
    Copy,
    /// `RUN --mount=from=`
    Mount,
}

impl Planned {
    /// The place of a part of the instruction in the Dockerfile.
    pub(crate) fn place(&self, span: Span) -> Span {
        self.elsewhere.unwrap_or(span)
    }

    /// A finding about the instruction, put where its reader can see what it is about.
    pub(crate) fn put(&self, mut finding: Diagnostic) -> Diagnostic {
        if let (Some(span), Origin::Onbuild { text, .. }) = (self.elsewhere, &self.origin) {
            finding.span = span;
            let line = text.lines().next().unwrap_or("");
            finding.message = format!("in the trigger `{line}` of this image: {}", finding.message);
        }
        finding
    }
}

/// What a FROM or `--from` names, before there are tables to point into.
#[derive(Debug, Clone)]
pub(crate) enum Named {
    Scratch,
    Stage(usize),
    Image(ImageName, Platform, Span),
    /// Files that the user named.
    Files(String),
    /// An image of the same build.
    Built(Box<BuiltBase>),
}

struct Draft {
    base: Named,
    platform: Platform,
    /// Each with what its `from` words name.
    instructions: Vec<(Planned, Vec<Named>)>,
}

type Fact<'f> = dyn Fn(&ImageName, &Platform) -> Option<&'f NamedImage<BaseImage>> + 'f;

impl Source {
    fn read(tree: &Dockerfile, request: &Request) -> Result<Self, Vec<Diagnostic>> {
        let mut stages: Vec<SourceStage> = Vec::new();
        let mut global_arguments = Vec::new();
        let mut declared = Vec::new();
        for instruction in &tree.instructions {
            if let InstructionKind::From(from) = &instruction.kind {
                stages.push(SourceStage {
                    from: from.clone(),
                    span: instruction.span,
                    instructions: Vec::new(),
                });
                continue;
            }
            let mut is_argument = false;
            if let InstructionKind::Arg(declarations) = &instruction.kind {
                declared.extend(declarations.iter().map(|one| one.name.value.clone()));
                if stages.is_empty() {
                    global_arguments.extend(declarations);
                    is_argument = true;
                }
            }
            if let Some(stage) = stages.last_mut() {
                stage.instructions.push(instruction.clone());
            } else if !is_argument {
                let message = "only ARG may stand before the first FROM";
                let span = instruction.keyword.span;
                return Err(vec![Diagnostic::error(span, message, "before any FROM")]);
            }
        }
        let Some(last) = stages.len().checked_sub(1) else {
            let message = "there is no FROM, so there is nothing to build";
            return Err(vec![Diagnostic::error(
                Span::default(),
                message,
                "no stage",
            )]);
        };
        let target = match &request.target {
            None => last,
            Some(name) => find_target(&stages, name).map_err(|finding| vec![finding])?,
        };

        let target_stage = request.target.as_deref().or(stages[last]
            .from
            .name
            .as_ref()
            .map(|name| name.value.as_str()));
        let mut globals = Scope::predefined(request, target_stage);
        for declaration in &global_arguments {
            let name = &declaration.name.value;
            match (request.argument(name), &declaration.default) {
                (Some(value), _) => globals.set(name, value),
                (None, None) => {}
                (None, Some(default)) => {
                    let value = expand(&default.value, tree.escape, &globals)
                        .map_err(|error| vec![expand_error(default, &error)])?
                        .value;
                    globals.set(name, &value);
                }
            }
        }
        let froms: Vec<&FromInstruction> = stages.iter().map(|stage| &stage.from).collect();
        let mut warnings = Vec::new();
        let arguments = GlobalArguments {
            escape: tree.escape,
            declared: &global_arguments,
            values: &globals,
        };
        from_rules::check(&froms, &arguments, request, &mut warnings);
        Ok(Self {
            escape: tree.escape,
            globals,
            stages,
            target,
            platform: request.platform.clone(),
            contexts: request.contexts.clone(),
            declared,
            all_are_needed: false,
            assumes_images: false,
            warnings,
        })
    }

    /// Walks from the target to what it needs. A stage needs only earlier ones, so one pass
    /// backwards finds all of them.
    fn resolve(&self, fact: &Fact<'_>) -> Result<StageSet<ImageName>, Vec<Diagnostic>> {
        let mut findings = self.warnings.clone();
        let mut needed = vec![self.all_are_needed; self.stages.len()];
        needed[self.target] = true;
        let mut drafts = Vec::new();
        for number in (0..self.stages.len()).rev() {
            if !needed[number] {
                continue;
            }
            let draft = self.draft(number, fact, &mut findings);
            let copied = draft.instructions.iter().flat_map(|(_, named)| named);
            for named in copied.chain([&draft.base]) {
                match named {
                    Named::Stage(earlier) => needed[*earlier] = true,
                    Named::Built(built) => findings.extend(built.finding()),
                    Named::Scratch | Named::Image(..) | Named::Files(_) => {}
                }
            }
            drafts.push((number, draft));
        }
        findings.sort_by_key(|finding| finding.span.start);
        if findings.iter().any(Diagnostic::is_error) {
            from_rules::leave_out_repeated(&mut findings);
            return Err(findings);
        }
        drafts.reverse();
        Ok(self.tabulate(drafts, findings))
    }

    fn draft(&self, number: usize, fact: &Fact<'_>, findings: &mut Vec<Diagnostic>) -> Draft {
        let stage = &self.stages[number];
        if let Some(base) = self.replacement(number) {
            return Draft {
                base,
                platform: self.platform.clone(),
                instructions: Vec::new(),
            };
        }
        findings.extend(dockerfile::lint::stage(&stage.instructions));
        // Without a base there is an error, and the lines below may hold more of them.
        let nothing = || (Named::Scratch, self.platform.clone());
        let known = findings.len();
        let (base, platform) = self
            .base(number, findings)
            .or_else(|| self.assumed_base(number, known, findings))
            .unwrap_or_else(nothing);
        let mut planned = Vec::new();
        match &base {
            Named::Scratch | Named::Files(_) => {}
            Named::Stage(earlier) => {
                // Triggers of an earlier stage: their text is in this file.
                for instruction in &self.stages[*earlier].instructions {
                    if let InstructionKind::Onbuild(onbuild) = &instruction.kind {
                        planned.push(Planned {
                            instruction: (*onbuild.inner).clone(),
                            origin: Origin::Onbuild {
                                reference: None,
                                text: onbuild.text.clone(),
                            },
                            elsewhere: None,
                            files_of: Vec::new(),
                        });
                    }
                }
            }
            Named::Image(reference, platform, span) => {
                if let Some(named) = fact(reference, platform) {
                    for text in &named.image.config.config.on_build {
                        let shown = reference.familiar();
                        let origin = (Some(reference), shown.as_str());
                        self.trigger(text, origin, *span, &mut planned, findings);
                    }
                }
            }
            Named::Built(built) => {
                let target = built.target.iter();
                for text in target.flat_map(|target| &target.config.config.on_build) {
                    let origin = (None, built.name.as_str());
                    self.trigger(text, origin, built.span, &mut planned, findings);
                }
            }
        }
        planned.extend(stage.instructions.iter().map(|instruction| Planned {
            instruction: instruction.clone(),
            origin: Origin::Dockerfile,
            elsewhere: None,
            files_of: Vec::new(),
        }));
        let mut instructions = Vec::new();
        for one in planned {
            match self.files_of(number, &one) {
                Ok(named) => instructions.push((one, named)),
                Err(finding) => findings.push(one.put(finding)),
            }
        }
        Draft {
            base,
            platform,
            instructions,
        }
    }

    /// What FROM names, and the platform that it asks for.
    fn base(&self, number: usize, findings: &mut Vec<Diagnostic>) -> Option<(Named, Platform)> {
        let FromInstruction {
            platform,
            image,
            name: _,
        } = &self.stages[number].from;
        let platform = match platform {
            None => self.platform.clone(),
            Some(word) => {
                let text = self.expand_from(word, "the platform", findings)?;
                match text.parse::<Platform>() {
                    Ok(platform) => platform,
                    Err(error) => {
                        findings.push(not_a_platform(word.span, &error));
                        return None;
                    }
                }
            }
        };
        let text = self.expand_from(image, "the name of the image", findings)?;
        if text == "scratch" {
            return Some((Named::Scratch, self.platform.clone()));
        }
        if let Some(named) = self.named_context(&text, &platform, image.span) {
            return Some((named, platform));
        }
        // FROM compares with the lower-cased names as they are, and knows no numbers (F3, F4).
        let earlier = (0..number)
            .rev()
            .find(|&earlier| self.stage_name(earlier) == Some(&text));
        if let Some(earlier) = earlier {
            return Some((Named::Stage(earlier), platform));
        }
        match text.parse::<Reference>() {
            Ok(reference) => {
                let named = self.image(reference, &platform, image.span);
                Some((named, platform))
            }
            Err(error) => {
                let finding = Diagnostic::error(image.span, error.to_string(), "not an image");
                findings.push(finding);
                None
            }
        }
    }

    pub(crate) fn stage_name(&self, number: usize) -> Option<&str> {
        let name = self.stages[number].from.name.as_ref()?;
        Some(&name.value)
    }

    fn expand_from(
        &self,
        word: &Spanned<String>,
        what: &str,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<String> {
        let expansion = match expand(&word.value, self.escape, &self.globals) {
            Ok(expansion) => expansion,
            Err(error) => {
                findings.push(expand_error(word, &error));
                return None;
            }
        };
        if expansion.value.is_empty() {
            let message = format!("{what} is empty once its variables are replaced");
            let help = "give the ARG before the first FROM a default, or pass --build-arg";
            findings.push(Diagnostic::error(word.span, message, "empty").with_help(help));
            return None;
        }
        Some(expansion.value)
    }

    /// What the `from` words of an instruction name, in their order.
    fn files_of(&self, number: usize, planned: &Planned) -> Result<Vec<Named>, Diagnostic> {
        match &planned.instruction.kind {
            InstructionKind::Copy(copy) => copy
                .from
                .iter()
                .map(|word| self.from(number, FromWord::Copy, word, planned.place(word.span)))
                .collect(),
            InstructionKind::Run(run) => run
                .mounts
                .iter()
                .filter_map(mount::from_word)
                .map(|word| self.from(number, FromWord::Mount, &word, planned.place(word.span)))
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// What a `from` names. `place`: where the Dockerfile says so.
    fn from(
        &self,
        number: usize,
        whose: FromWord,
        from: &Spanned<String>,
        place: Span,
    ) -> Result<Named, Diagnostic> {
        let text = from.value.as_str();
        let (flag, verb) = match whose {
            FromWord::Copy => ("--from", "copy from"),
            FromWord::Mount => ("from= of a mount", "mount files of"),
        };
        let fail = |message: String, label: &str| Diagnostic::error(from.span, message, label);
        if text.contains('$') {
            let message = format!("variables are not replaced in {flag}");
            let help = match whose {
                FromWord::Copy => {
                    "name the image in a stage of its own, `FROM $image AS name`, and copy \
                     --from=name"
                }
                FromWord::Mount => {
                    "name the image in a stage of its own, `FROM $image AS name`, and mount \
                     from=name"
                }
            };
            return Err(fail(message, "a variable").with_help(help));
        }
        if text.is_empty() {
            return Err(fail(format!("{flag} names nothing"), "empty"));
        }
        // In a mount a number is the name of an image like any other word (F4).
        if whose == FromWord::Copy && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<usize>() {
                Ok(earlier) if earlier < number => Ok(Named::Stage(earlier)),
                Ok(_) | Err(_) => Err(fail(
                    format!("there is no stage {text} before this one, which is stage {number}"),
                    "not an earlier stage",
                )),
            };
        }
        let key = NamedContext::key(text);
        if let Some(named) = self.named_context(&key, &self.platform, place) {
            return Ok(named);
        }
        let named = |stage: &usize| {
            self.stage_name(*stage)
                .is_some_and(|name| name.eq_ignore_ascii_case(text))
        };
        if let Some(earlier) = (0..number).rev().find(named) {
            return Ok(Named::Stage(earlier));
        }
        if named(&number) {
            return Err(fail(
                format!("stage `{text}` cannot {verb} itself"),
                "this stage",
            ));
        }
        if (number + 1..self.stages.len()).any(|later| named(&later)) {
            let message = format!("cannot {verb} stage `{text}`: it is defined later in the file");
            let help = "move that stage above this one";
            return Err(fail(message, "defined below").with_help(help));
        }
        if text.eq_ignore_ascii_case("scratch") {
            return match whose {
                FromWord::Copy => {
                    let message = "scratch is empty: there is nothing to copy from it".to_owned();
                    Err(fail(message, "nothing in it"))
                }
                // An empty directory can be of use.
                FromWord::Mount => Ok(Named::Scratch),
            };
        }
        match text.parse::<Reference>() {
            // The image of a copy is for the target, not for the stage (F13).
            Ok(reference) => Ok(self.image(reference, &self.platform, place)),
            Err(error) => Err(fail(error.to_string(), "neither a stage nor an image")),
        }
    }

    /// The name of a stage, or `stage-N`.
    fn shown(&self, number: usize) -> String {
        match self.stage_name(number) {
            Some(name) => name.to_owned(),
            None => format!("stage-{number}"),
        }
    }

    /// What messages call the stages of the file, the needed and the others.
    pub(crate) fn shown_names(&self) -> impl Iterator<Item = String> {
        (0..self.stages.len()).map(|number| self.shown(number))
    }

    /// Whether the file has only one stage, which is then not named in titles.
    pub(crate) fn is_single_stage(&self) -> bool {
        self.stages.len() == 1
    }
}

fn find_target(stages: &[SourceStage], wanted: &str) -> Result<usize, Diagnostic> {
    let name = |stage: &SourceStage| stage.from.name.as_ref().map(|name| name.value.clone());
    let found = stages
        .iter()
        .rposition(|stage| name(stage).is_some_and(|name| name.eq_ignore_ascii_case(wanted)));
    found.ok_or_else(|| {
        let names: Vec<String> = stages.iter().filter_map(name).collect();
        let help = if names.is_empty() {
            "no stage has a name: write `FROM image AS name`".to_owned()
        } else {
            let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let near = dockerfile::suggest::nearest(wanted, names.iter().map(String::as_str));
            match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the stages with a name are {}", all.join(", ")),
            }
        };
        let span = stages.last().map(|stage| stage.span).unwrap_or_default();
        let message = format!("there is no stage `{wanted}` to build");
        Diagnostic::error(span, message, "the last stage").with_help(help)
    })
}

/// A word that cannot be expanded, with the very characters where the word stands as it is.
pub(crate) fn expand_error(word: &Spanned<String>, error: &ExpandError) -> Diagnostic {
    let Spanned { value, span } = word;
    let exact = span.len() == value.len();
    let span = if exact && !error.range.is_empty() {
        Span::new(span.start + error.range.start, span.start + error.range.end)
    } else {
        *span
    };
    Diagnostic::error(span, error.to_string(), "cannot be expanded")
}
