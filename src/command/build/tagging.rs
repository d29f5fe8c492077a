//! Flags about tags that are made from the sources: `--repo` and what belongs to it. Without
//! `--repo`, `--tag` means what it means in buildx, and nothing here changes what is built.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args, ValueEnum};
use oci::{Reference, Repository, Tag};
use policy::{DirtyPolicy, TagPolicy, TagTemplate, TagWishes};
use project::{Compatibility, TagRules};

use super::values;
use crate::error::ProgramError;
use crate::project::{self as projects, ProjectFlags};
use crate::settings::Settings;
use crate::sources::{self, Sources};

/// What tags are made from, and what images are told of their sources.
#[derive(Args, Debug)]
#[command(next_help_heading = "Tags")]
pub(super) struct TagFlags {
    /// Repository of the image, without a tag: the tag is made from the commit and never moves;
    /// --tag then gives other tags that never move
    #[arg(long, value_name = "REPOSITORY")]
    repo: Option<String>,

    /// How tags that never move are made, can be repeated; needs --repo [default: kiln.yaml's, or
    /// git-sha where no --tag is given]
    #[arg(long, value_enum, value_name = "POLICY", value_delimiter = ',')]
    tag_policy: Vec<TagPolicyFlag>,

    /// Tag that moves, after all others, can be repeated; needs --repo
    #[arg(long = "extra-tag", value_name = "TAG")]
    extra_tags: Vec<String>,

    /// Let `latest` be among the tags that move
    #[arg(long)]
    allow_latest: bool,

    /// What changes that are not committed mean [default: kiln.yaml's, or suffix]
    #[arg(long, value_enum, value_name = "POLICY")]
    dirty: Option<DirtyFlag>,

    /// Labels and annotations with commit, source, version and base [default: true with --repo,
    /// otherwise false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true, value_name = "BOOL")]
    identity_labels: Option<bool>,
}

/// How a tag that never moves is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TagPolicyFlag {
    /// The whole commit
    #[value(name = "git-sha")]
    Commit,
    /// Its first twelve digits
    #[value(name = "git-short")]
    Short,
    /// The nearest tag, and how far away it is
    #[value(name = "git-describe")]
    Describe,
}

/// What changes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DirtyFlag {
    /// Push nothing
    Refuse,
    /// Say so in the tag
    Suffix,
    /// Use the tag of the commit all the same
    Allow,
}

/// What the flags of a build come to.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    /// The names, where `--repo` makes them.
    pub(super) names: Option<Vec<Reference>>,
    /// Those that never move.
    pub(super) immutable: BTreeSet<Reference>,
    /// What should be known about them.
    pub(super) notes: Vec<String>,
    told: Option<Told>,
}

/// What images are told.
#[derive(Debug)]
struct Told {
    sources: Sources,
    dirty: DirtyPolicy,
    with_labels: bool,
    extra: Option<Tag>,
}

/// What else the command line says.
pub(super) struct Beside<'b> {
    /// `--tag`.
    pub(super) tags: &'b [String],
    /// Whether an output has names of its own.
    pub(super) outputs_have_names: bool,
    /// Whether the image goes to a registry.
    pub(super) pushes: bool,
    /// The context, if it is a directory of this machine.
    pub(super) directory: Option<&'b Path>,
}

impl Tagged {
    /// Puts what images are told into a request.
    pub(super) fn tell(&self, request: &mut graph::Request) {
        if let Some(told) = &self.told {
            let extra = told.extra.as_ref();
            told.sources
                .tell(request, told.dirty, told.with_labels, extra);
        }
    }

    /// What `--quiet` prints of a build that makes its tags: the name and what it stands for.
    pub(super) fn product(&self, digest: &oci::Digest) -> Option<String> {
        let first = self.names.as_ref()?.first()?;
        Some(first.with_digest(digest.clone()).to_string())
    }
}

impl TagFlags {
    /// Makes names and labels.
    pub(super) fn read(
        &self,
        beside: &Beside<'_>,
        settings: &Settings,
    ) -> Result<Tagged, ProgramError> {
        let outside = self.outside(beside, settings)?;
        let Some(repository) = &outside.repository else {
            self.check_without_repository()?;
            return match self.identity_labels {
                Some(true) => self.only_labels(beside, settings),
                Some(false) | None => Ok(Tagged::default()),
            };
        };
        if beside.outputs_have_names {
            return Err(ProgramError::input(
                "--repo and the name= of an output both say how the image is called",
            ));
        }
        let (given, notes) = self.given(repository, &outside)?;
        let mut extra = Vec::new();
        for text in &outside.extra_tags {
            extra.push(tag("--extra-tag", text)?);
        }
        let rules = &outside.rules;
        let policies = match (self.tag_policy.as_slice(), given.is_empty()) {
            ([], true) => rules.policy.clone(),
            ([], false) => Vec::new(),
            (flags, _) => flags.iter().copied().map(TagPolicy::from).collect(),
        };
        // The templates of kiln.yaml were read when it was.
        let floating = rules.floating.iter();
        let floating = floating.filter_map(|text| TagTemplate::parse(text).ok());
        let wishes = TagWishes {
            policies,
            given,
            floating: floating.collect(),
            extra,
            dirty: self.dirty(rules, beside.pushes),
            allow_latest: self.allow_latest || rules.allow_latest,
        };
        let sources = self.sources(beside, settings, rules);
        let plan = sources::tags(&wishes, &sources)?;
        let (names, immutable) = sources::names(repository, &plan);
        let told = match sources {
            Err(why) if self.identity_labels == Some(true) => return Err(why),
            Err(_) => None,
            Ok(sources) => Some(Told {
                sources,
                dirty: wishes.dirty,
                with_labels: self.identity_labels.unwrap_or(true),
                extra: wishes.extra.first().cloned(),
            }),
        };
        Ok(Tagged {
            names: Some(names),
            immutable,
            notes: notes.into_iter().chain(plan.notes).collect(),
            told,
        })
    }

    /// What tags the images of a project get: by its rules, where no flag says something else.
    pub(super) fn wishes(&self, rules: &TagRules, pushes: bool) -> Result<TagWishes, ProgramError> {
        if self.repo.is_some() {
            return Err(ProgramError::input(
                "--repo is about one image, and this builds those of kiln.yaml",
            )
            .hint("--registry and --prefix say where they go"));
        }
        let mut extra = Vec::new();
        for text in &self.extra_tags {
            extra.push(tag("--extra-tag", text)?);
        }
        let floating = rules.floating.iter();
        let floating = floating.filter_map(|text| TagTemplate::parse(text).ok());
        Ok(TagWishes {
            policies: match self.tag_policy.as_slice() {
                [] => rules.policy.clone(),
                flags => flags.iter().copied().map(TagPolicy::from).collect(),
            },
            given: Vec::new(),
            floating: floating.collect(),
            extra,
            dirty: self.dirty(rules, pushes),
            allow_latest: self.allow_latest || rules.allow_latest,
        })
    }

    /// Whether images are told of their sources; nothing where no flag says so.
    pub(super) fn tells(&self) -> Option<bool> {
        self.identity_labels
    }

    /// Labels for a build whose names are as buildx has them.
    fn only_labels(
        &self,
        beside: &Beside<'_>,
        settings: &Settings,
    ) -> Result<Tagged, ProgramError> {
        let rules = TagRules::default();
        let told = Told {
            sources: self.sources(beside, settings, &rules)?,
            dirty: self.dirty(&rules, false),
            with_labels: true,
            extra: None,
        };
        Ok(Tagged {
            told: Some(told),
            ..Tagged::default()
        })
    }

    /// A build that goes nowhere is refused nothing.
    fn dirty(&self, rules: &TagRules, pushes: bool) -> DirtyPolicy {
        let flag = self.dirty.map(DirtyPolicy::from);
        match flag.unwrap_or(rules.dirty) {
            DirtyPolicy::Refuse if !pushes => DirtyPolicy::Suffix,
            policy => policy,
        }
    }

    fn sources(
        &self,
        beside: &Beside<'_>,
        settings: &Settings,
        rules: &TagRules,
    ) -> Result<Sources, ProgramError> {
        match beside.directory {
            Some(directory) => Sources::find(settings, directory, rules.describe_match.as_deref()),
            None => Err(ProgramError::input(
                "no commit is known of a context that is not a directory of this machine",
            )
            .hint("give the image a tag with --tag")),
        }
    }

    /// Tags as they are written. A name with the same repository stands for its tag, so that what
    /// makefiles call IMAGE_TAG can be passed on (spec E1).
    fn given(
        &self,
        repository: &Repository,
        outside: &Outside,
    ) -> Result<(Vec<Tag>, Vec<String>), ProgramError> {
        let mut given = Vec::new();
        let mut notes = Vec::new();
        for (from, text) in &outside.tags {
            if let Ok(tag) = text.parse::<Tag>() {
                given.push(tag);
                continue;
            }
            if !text.contains(['/', ':']) {
                tag(from, text)?;
            }
            let reference = values::tag(from, text)?;
            if reference.repository() != repository {
                return Err(ProgramError::input(format!(
                    "{from} {text} is in the repository {}, and --repo is {repository}",
                    reference.repository()
                ))
                .hint("with --repo, --tag is a tag alone"));
            }
            let Some(tag) = reference.tag() else { continue };
            notes.push(format!(
                "{from} {text} has the repository of --repo in it; `{tag}` is enough"
            ));
            given.push(tag.clone());
        }
        Ok((given, notes))
    }

    fn check_without_repository(&self) -> Result<(), ProgramError> {
        let given = [
            ("--tag-policy", !self.tag_policy.is_empty()),
            ("--extra-tag", !self.extra_tags.is_empty()),
            ("--allow-latest", self.allow_latest),
            (
                "--dirty",
                self.dirty.is_some() && self.identity_labels != Some(true),
            ),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => Err(ProgramError::input(format!(
                "{flag} is about tags that are made, and no --repo says where"
            ))
            .hint("add --repo REGISTRY/NAME; without it, --tag gives the whole name")),
        }
    }

    /// What `kiln.yaml` and, if that says so, the variables of others add. They are only looked at
    /// where tags are to be made: any other build is the same with and without the file.
    fn outside(&self, beside: &Beside<'_>, settings: &Settings) -> Result<Outside, ProgramError> {
        let variable = |name: &str| settings.variable(name).filter(|value| !value.is_empty());
        let flag_tags = beside.tags.iter().map(|tag| ("--tag", tag.clone()));
        let mut outside = Outside {
            repository: None,
            tags: flag_tags.collect(),
            extra_tags: self.extra_tags.clone(),
            rules: TagRules::default(),
        };
        let image_repo = variable("IMAGE_REPO").filter(|_| beside.tags.is_empty());
        if self.repo.is_some() || image_repo.is_some() {
            let project = projects::find(settings, ProjectFlags::default())?;
            let project = project.as_ref().map(|loaded| loaded.values());
            if let Some(project) = project {
                outside.rules = project.tags.clone();
            }
            let is_epp = project.is_some_and(|project| project.compat == Some(Compatibility::Epp));
            if is_epp {
                if outside.tags.is_empty() {
                    outside
                        .tags
                        .extend(variable("IMAGE_TAG").map(|tag| ("IMAGE_TAG", tag)));
                }
                if outside.extra_tags.is_empty() {
                    outside.extra_tags.extend(variable("EXTRA_TAG"));
                }
                if self.repo.is_none()
                    && let Some(text) = &image_repo
                {
                    outside.repository = Some(repository("IMAGE_REPO", text)?);
                }
            }
        }
        if let Some(text) = &self.repo {
            outside.repository = Some(repository("--repo", text)?);
        }
        Ok(outside)
    }
}

/// What counts beside the flags.
struct Outside {
    repository: Option<Repository>,
    /// With where they come from.
    tags: Vec<(&'static str, String)>,
    extra_tags: Vec<String>,
    rules: TagRules,
}

fn repository(from: &str, text: &str) -> Result<Repository, ProgramError> {
    let parsed = text.parse::<Repository>();
    parsed.map_err(|error| {
        let said = ProgramError::input(format!("{from}: {error}"));
        match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && name.contains('/') => said.hint(format!(
                "a repository has no tag: {from} {name}, and --tag {tag}"
            )),
            _ => said,
        }
    })
}

fn tag(from: &str, text: &str) -> Result<Tag, ProgramError> {
    let parsed = text.parse::<Tag>();
    parsed.map_err(|error| ProgramError::input(format!("{from}: {error}")))
}

impl From<TagPolicyFlag> for TagPolicy {
    fn from(flag: TagPolicyFlag) -> Self {
        match flag {
            TagPolicyFlag::Commit => Self::GitSha,
            TagPolicyFlag::Short => Self::GitShort,
            TagPolicyFlag::Describe => Self::GitDescribe,
        }
    }
}

impl From<DirtyFlag> for DirtyPolicy {
    fn from(flag: DirtyFlag) -> Self {
        match flag {
            DirtyFlag::Refuse => Self::Refuse,
            DirtyFlag::Suffix => Self::Suffix,
            DirtyFlag::Allow => Self::Allow,
        }
    }
}
