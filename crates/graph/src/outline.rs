//! What a target can be given, and which targets there are: the arguments, secrets and keys that its
//! stages take, with the descriptions in the comments above them. Found in the text alone; what a
//! base image's triggers would add is not known here.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::lint::comments;
use dockerfile::{
    ArgDeclaration, Diagnostic, Dockerfile, Instruction, InstructionKind, Span, Spanned, expand,
};

use crate::scope::Scope;
use crate::stage::StageBase;
use crate::{Request, StageSet, Variable, stages};

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// What the comment above its FROM says about it.
    pub description: Option<String>,
    /// Build arguments, in the order of the text.
    pub arguments: Vec<OutlineArgument>,
    /// Secrets, in the order of the text.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents, in the order of the text.
    pub ssh: Vec<OutlineMount>,
    /// Cache mounts, in the order of the text.
    pub caches: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// What the comment above its ARG says about it.
    pub description: Option<String>,
    /// What it is in this build: what was passed, else its default. Nothing without either.
    pub value: Option<String>,
    /// ARG.
    pub span: Span,
}

/// Something that a RUN mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether a RUN fails without it.
    pub required: bool,
    /// RUN.
    pub span: Span,
}

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetLine {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What the comment above its FROM says about it.
    pub description: Option<String>,
    /// It is built when no target is named.
    pub is_default: bool,
    /// What it is made from, as written.
    pub base: String,
    /// Its `--platform`, as written.
    pub platform: Option<String>,
    /// FROM.
    pub span: Span,
}

/// The stages of a file, in its order.
pub fn targets(tree: &Dockerfile, text: &str) -> Vec<TargetLine> {
    let comments = comments::above(tree, text);
    let mut lines: Vec<TargetLine> = tree
        .instructions
        .iter()
        .zip(&comments)
        .filter_map(|(instruction, comments)| {
            let InstructionKind::From(from) = &instruction.kind else {
                return None;
            };
            let name = from.name.as_ref().map(|name| name.value.clone());
            Some(TargetLine {
                description: name
                    .as_ref()
                    .and_then(|name| comments::description(comments, name)),
                name,
                is_default: false,
                base: from.image.value.clone(),
                platform: from.platform.as_ref().map(|word| word.value.clone()),
                span: instruction.span,
            })
        })
        .collect();
    if let Some(last) = lines.last_mut() {
        last.is_default = true;
    }
    lines
}

/// What the target of a request takes. The tree must be one without errors.
pub fn outline(
    tree: &Dockerfile,
    text: &str,
    request: &Request,
) -> Result<Outline, Vec<Diagnostic>> {
    let set = stages(tree, request)?;
    let comments = comments::above(tree, text);
    let described: BTreeMap<Span, &[Spanned<String>]> = tree
        .instructions
        .iter()
        .zip(&comments)
        .map(|(instruction, comments)| (instruction.span, comments.as_slice()))
        .collect();
    let mut gatherer = Gatherer {
        escape: tree.escape,
        request,
        described,
        globals: BTreeMap::new(),
        used: BTreeSet::new(),
        arguments: BTreeMap::new(),
        mounts: Mounts::default(),
    };
    gatherer.global_arguments(tree);
    gatherer.stages(&set);
    gatherer.used_by_from(tree, &set);
    let target = set.stages.last().map(|stage| stage.span);
    let line = targets(tree, text)
        .into_iter()
        .find(|line| Some(line.span) == target);
    let (name, description) = line.map_or((None, None), |line| (line.name, line.description));
    Ok(gatherer.finish(name, description))
}

/// An ARG above the first FROM.
struct Global {
    argument: OutlineArgument,
    /// The arguments that its default is made from.
    needs: Vec<String>,
}

struct Gatherer<'t> {
    escape: char,
    request: &'t Request,
    /// The comments above each instruction.
    described: BTreeMap<Span, &'t [Spanned<String>]>,
    globals: BTreeMap<String, Global>,
    /// Names of globals that a stage or a FROM takes.
    used: BTreeSet<String>,
    /// Those that stages declare.
    arguments: BTreeMap<String, OutlineArgument>,
    mounts: Mounts,
}

#[derive(Default)]
struct Mounts {
    secrets: BTreeMap<String, OutlineMount>,
    ssh: BTreeMap<String, OutlineMount>,
    caches: BTreeMap<String, OutlineMount>,
}

impl Gatherer<'_> {
    fn global_arguments(&mut self, tree: &Dockerfile) {
        let mut scope = Scope::predefined(self.request, None);
        for instruction in &tree.instructions {
            match &instruction.kind {
                InstructionKind::Arg(declarations) => {
                    for declaration in declarations {
                        let (value, needs) = self.value(declaration, &scope);
                        if let Some(value) = &value {
                            scope.set(&declaration.name.value, value);
                        }
                        let argument = self.argument(instruction, declaration, value);
                        let name = argument.name.clone();
                        self.globals.insert(name, Global { argument, needs });
                    }
                }
                _ => return,
            }
        }
    }

    /// What an ARG is in this build, and what its default is made from.
    fn value(&self, declaration: &ArgDeclaration, scope: &Scope) -> (Option<String>, Vec<String>) {
        let name = &declaration.name.value;
        match (self.request.argument(name), &declaration.default) {
            (Some(given), _) => (Some(given.clone()), Vec::new()),
            (None, None) => (None, Vec::new()),
            (None, Some(default)) => match expand(&default.value, self.escape, scope) {
                Ok(expansion) => (Some(expansion.value), expansion.used),
                Err(_) => (None, Vec::new()),
            },
        }
    }

    fn argument(
        &self,
        instruction: &Instruction,
        declaration: &ArgDeclaration,
        value: Option<String>,
    ) -> OutlineArgument {
        let name = declaration.name.value.clone();
        let comments = self.described.get(&instruction.span).copied();
        OutlineArgument {
            description: comments.and_then(|comments| comments::description(comments, &name)),
            name,
            value,
            span: instruction.span,
        }
    }

    fn stages<B>(&mut self, set: &StageSet<B>) {
        let mut scopes: Vec<Scope> = Vec::new();
        for stage in &set.stages {
            let mut scope = match stage.base {
                StageBase::Stage(earlier) => scopes[earlier].clone(),
                StageBase::Scratch
                | StageBase::Image(_)
                | StageBase::Context(_)
                | StageBase::Built(_) => Scope::default(),
            };
            for planned in &stage.instructions {
                self.instruction(&planned.instruction, &set.source.globals, &mut scope);
            }
            scopes.push(scope);
        }
    }

    fn instruction(&mut self, instruction: &Instruction, globals: &Scope, scope: &mut Scope) {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    let name = &declaration.name.value;
                    let (value, _) = self.value(declaration, scope);
                    let is_bare = declaration.default.is_none() && value.is_none();
                    self.used.insert(name.clone());
                    if is_bare && let Some(inherited) = globals.value(name) {
                        scope.set(name, inherited);
                        continue;
                    }
                    if let Some(value) = &value {
                        scope.set(name, value);
                    }
                    let argument = self.argument(instruction, declaration, value);
                    self.arguments.insert(name.clone(), argument);
                }
            }
            InstructionKind::Env(pairs) => {
                let expand = |word: &Spanned<String>| expand(&word.value, self.escape, &*scope);
                let values: Vec<Variable> = pairs
                    .pairs
                    .iter()
                    .filter_map(|pair| {
                        Some(Variable {
                            name: expand(&pair.key).ok()?.value,
                            value: expand(&pair.value).ok()?.value,
                        })
                    })
                    .collect();
                for Variable { name, value } in values {
                    scope.set(&name, &value);
                }
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    if let Ok(expansion) = expand(&mount.value, self.escape, &*scope) {
                        self.mounts.add(&expansion.value, instruction.span);
                    }
                }
            }
            _ => {}
        }
    }

    /// The global arguments in the FROM lines of the needed stages.
    fn used_by_from<B>(&mut self, tree: &Dockerfile, set: &StageSet<B>) {
        for instruction in &tree.instructions {
            let InstructionKind::From(from) = &instruction.kind else {
                continue;
            };
            if !set
                .stages
                .iter()
                .any(|stage| stage.span == instruction.span)
            {
                continue;
            }
            for word in from.platform.iter().chain([&from.image]) {
                if let Ok(expansion) = expand(&word.value, self.escape, &set.source.globals) {
                    self.used.extend(expansion.used);
                    self.used.extend(expansion.unset);
                }
            }
        }
    }

    fn finish(mut self, name: Option<String>, description: Option<String>) -> Outline {
        let mut open: Vec<String> = self.used.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let Some(global) = self.globals.get(&name) else {
                continue;
            };
            for needed in &global.needs {
                if self.used.insert(needed.clone()) {
                    open.push(needed.clone());
                }
            }
        }
        for (name, global) in self.globals {
            if self.used.contains(&name) {
                self.arguments.entry(name).or_insert(global.argument);
            }
        }
        let mut arguments: Vec<OutlineArgument> = self.arguments.into_values().collect();
        arguments.sort_by_key(|argument| argument.span);
        Outline {
            name,
            description,
            arguments,
            secrets: in_order(self.mounts.secrets),
            ssh: in_order(self.mounts.ssh),
            caches: in_order(self.mounts.caches),
        }
    }
}

impl Mounts {
    /// Reads the value of a `--mount` as far as an outline goes; whoever builds reads it in full.
    fn add(&mut self, value: &str, span: Span) {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for field in value.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            fields.insert(key.trim(), value.trim());
        }
        let field = |names: &[&str]| names.iter().find_map(|name| fields.get(name).copied());
        let target = field(&["target", "dst", "destination"]);
        let (mounts, name) = match fields.get("type").copied() {
            Some("secret") => {
                let last = target.and_then(|target| target.rsplit('/').next());
                (&mut self.secrets, field(&["id"]).or(last))
            }
            Some("ssh") => (&mut self.ssh, field(&["id"]).or(Some("default"))),
            Some("cache") => (&mut self.caches, field(&["id"]).or(target)),
            _ => return,
        };
        let Some(name) = name else {
            return;
        };
        let required = matches!(field(&["required"]), Some("true" | "1"));
        mounts
            .entry(name.to_owned())
            .and_modify(|known| known.required |= required)
            .or_insert(OutlineMount {
                name: name.to_owned(),
                required,
                span,
            });
    }
}

fn in_order(mounts: BTreeMap<String, OutlineMount>) -> Vec<OutlineMount> {
    let mut mounts: Vec<OutlineMount> = mounts.into_values().collect();
    mounts.sort_by_key(|mount| mount.span);
    mounts
}
