//! `kiln channel push`: all images are built, and become visible together.

use std::process::ExitCode;

use clap::Args;
use engine::Ports;
use policy::{ChannelName, DirtyPolicy, Member, SourceFacts, TagWishes, seats};
use publish::channel::{ChannelImage, KeptRecord};
use serde_json::json;

use super::gate::{self, Admitted, Wish};
use super::ground::{Ground, GroundOptions};
use super::moving::{MovedImage, Plan, floating_tag, stands};
use super::outcome::{self, MoveOptions, Moved};
use super::rollback::own_repository;
use super::signed::Signed;
use crate::args::{FormatOption, ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::command::build::declared::{self, BuiltMember, DeclaredSet, Selection};
use crate::error::ProgramError;
use crate::ports;
use crate::project::LoadedProject;
use crate::render::Presentation;
use crate::settings::Settings;
use crate::signing::{Signer, Signers, seals};
use crate::sources::{self, Sources};

/// Build all images and move a channel to them
///
/// Everything goes up by digest and under tags that never move; only when all of it has arrived, the
/// channel's tags are moved, and last the record that says what the channel has. When a tag cannot be
/// moved, the others are put back. An image whose inputs are those of the one that the channel has is
/// not sent again.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel push\n  kiln channel push envoy-prepare\n  kiln channel \
                  push --variant debug\n  kiln channel push --channel stable --dry-run"
)]
pub(super) struct PushArguments {
    /// Images to push; the channel keeps what it has of the others [default: all]
    #[arg(value_name = "IMAGE", conflicts_with = "all")]
    images: Vec<String>,

    /// Push all images, as without names
    #[arg(long, conflicts_with = "groups")]
    all: bool,

    /// Push the images of a group, can be repeated
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,

    /// Push only these variants, can be repeated
    #[arg(long = "variant", value_name = "NAME")]
    variants: Vec<String>,

    /// Channel [default: KILN_CHANNEL, what the files say, or your own]
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    /// Move tags that never move all the same
    #[arg(long)]
    retag: bool,

    /// Sign every image with a signer of kiln.yaml before a tag points at it [default: the only one]
    #[arg(long, value_name = "SIGNER", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    sign: Option<Vec<String>>,

    /// Use nothing from the cache
    #[arg(long)]
    no_cache: bool,

    /// Ask the registry for base images, even when they are known
    #[arg(long)]
    pull: bool,

    #[command(flatten)]
    moving: MoveOptions,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    ground: GroundOptions,
}

impl Command for PushArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn progress(&self) -> ProgressMode {
        self.progress.mode()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read_declared(&self.ground, settings)?;
        let Some(loaded) = &ground.loaded else {
            return Err(ProgramError::input("there is no project"));
        };
        let channel = ground.channel(self.channel.as_deref())?;
        check_seats(&ground, &channel)?;
        if !self.moving.dry_run {
            match crate::command::enter_user_namespace(&settings.invocation) {
                Ok(Some(code)) => return Ok(code),
                Ok(None) => {}
                // Without RUN there is nothing that needs it. A RUN says the same, with its place.
                Err(error) => presentation.warn(&format!("RUN will not work here: {error}")),
            }
        }
        let tags = &ground.project.tags;
        let describe_match = tags.describe_match.as_deref();
        let sources = Sources::find(settings, &loaded.directory, describe_match);
        let own_tags = own_tags(&ground, &sources, presentation)?;
        let push = Push {
            arguments: self,
            ground: &ground,
            set: self.set(loaded, settings, sources.as_ref().ok(), tags.dirty)?,
            channel,
            sources: sources.ok(),
            own_tags,
        };
        let moved = ports::serve(settings, presentation, settings.processors, async |ports| {
            push.run(ports, settings, presentation).await
        })?;
        outcome::report(&moved, self.format.format, presentation)
    }
}

/// No two things in one repository, with the channel that is meant among the others.
fn check_seats(ground: &Ground, channel: &ChannelName) -> Result<(), ProgramError> {
    let mut places = vec![ground.place(channel)?];
    for name in ground.project.channels.keys() {
        if let Ok(name) = name.parse::<ChannelName>()
            && name != *channel
        {
            places.push(ground.place(&name)?);
        }
    }
    let members: Vec<Member> = ground.project.members().collect();
    match seats(&ground.layout, &places, &members) {
        Ok(_) => Ok(()),
        Err(error) => Err(ProgramError::input(error.to_string()).hint(
            "change `channel-layout.repository`, the `path` of an image, or the name of the channel",
        )),
    }
}

/// Tags of all images that never move. Where there is no commit, there are none.
fn own_tags(
    ground: &Ground,
    sources: &Result<Sources, ProgramError>,
    presentation: Presentation,
) -> Result<Vec<oci::Tag>, ProgramError> {
    let rules = &ground.project.tags;
    if let Err(error) = sources {
        presentation.warn(&format!(
            "images get no tag that never moves: {}",
            error.headline
        ));
        return Ok(Vec::new());
    }
    let wishes = TagWishes {
        policies: rules.policy.clone(),
        dirty: rules.dirty,
        ..TagWishes::default()
    };
    Ok(sources::tags(&wishes, sources)?.immutable)
}

impl PushArguments {
    /// What is to be built.
    fn set(
        &self,
        loaded: &LoadedProject,
        settings: &Settings,
        sources: Option<&Sources>,
        dirty: DirtyPolicy,
    ) -> Result<DeclaredSet, ProgramError> {
        let mut common = declared::defaults(settings)?;
        common.no_cache = self.no_cache;
        common.pull = self.pull;
        if let Some(sources) = sources {
            sources.tell(&mut common.graph, dirty, true, None);
        }
        let selection = Selection {
            images: &self.images,
            groups: &self.groups,
            variants: &self.variants,
        };
        declared::declared_set(loaded, selection, &common, &[], &|_| {
            Ok((Vec::new(), Vec::new()))
        })
    }
}

/// A push under way.
struct Push<'p> {
    arguments: &'p PushArguments,
    ground: &'p Ground,
    set: DeclaredSet,
    channel: ChannelName,
    sources: Option<Sources>,
    own_tags: Vec<oci::Tag>,
}

impl Push<'_> {
    async fn run(
        &self,
        ports: &Ports,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<Moved, ProgramError> {
        let ground = self.ground;
        let client = &ports.client;
        let signers = self.signers(ports, settings)?;
        // What is not refused now is looked at again right before tags move.
        let current = ground.current(client, &self.channel).await?;
        let left_out = self.left_out();
        let admitted = gate::pass(
            Wish {
                channel: &self.channel,
                current: current.as_ref(),
                source: self.facts(),
                left_out: left_out.clone(),
                signed: Signed::Soon(
                    &signers,
                    self.set.members.iter().map(ToString::to_string).collect(),
                ),
                spelled: self.arguments.moving.spelled(),
                goes_back: false,
            },
            ground,
            client,
            settings,
            presentation,
        )
        .await?;
        let seals = seals(signers);
        let mut kept = self.kept(current.as_ref())?;
        if self.arguments.moving.dry_run {
            return self.planned(&kept, &admitted, current.as_ref());
        }
        let built = declared::build(&self.set, ports).await?;
        let (commit, dirty) = self.commit();
        let was_dirty = current.as_ref().is_some_and(|kept| kept.record.dirty);
        let mut moved = Vec::new();
        for member in built.members {
            let before = current.as_ref().and_then(|current| {
                current
                    .record
                    .image(&member.member.image, &member.member.variant)
            });
            let image = self.image(&member)?;
            // What was made of more than a commit is not what the channel has of a clean one.
            let before = before.filter(|_| dirty || !was_dirty);
            // Equal inputs: what is there is as good, and everybody has it already.
            if let Some(before) = before
                && before.input_digest == image.input_digest
                && before.repository == image.repository
                && stands(client, before, &floating_tag(ground)?).await?
                && (seals.is_empty() || before.digest == image.digest)
            {
                let is_same = before.digest == image.digest;
                kept.push(match is_same {
                    true => image.clone(),
                    false => before.clone(),
                });
                // It may lack the tag of this commit, or a signature: those are brought.
                if !is_same || (before.tags == image.tags && seals.is_empty()) {
                    continue;
                }
                kept.pop();
            }
            moved.push(MovedImage {
                image,
                content: member.content,
                attachments: Vec::new(),
                seals: seals.clone(),
                immutable_tags: self.own_tags.clone(),
            });
        }
        let mixed = !left_out.is_empty();
        if let Some(current) = &current
            && moved.is_empty()
            && (
                &current.record.commit,
                current.record.dirty,
                current.record.mixed,
            ) == (&commit, dirty, mixed)
            && current.record.images.len() == kept.len()
        {
            return Ok(Moved::Nothing(Box::new(current.clone())));
        }
        let plan = Plan {
            channel: self.channel.clone(),
            current: current.map(|current| current.digest),
            take: self.arguments.moving.take,
            retag: self.arguments.retag,
            commit,
            dirty,
            mixed,
            origin: None,
            admitted,
            companions: Vec::new(),
            moved,
            kept,
        };
        outcome::reach(plan, &self.arguments.moving, ground, ports).await
    }

    fn signers(&self, ports: &Ports, settings: &Settings) -> Result<Vec<Signer>, ProgramError> {
        let Some(names) = &self.arguments.sign else {
            return Ok(Vec::new());
        };
        let names: Vec<String> = names
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect();
        let signers = Signers {
            settings,
            client: &ports.client,
        };
        signers.of_project(self.ground.loaded.as_ref(), &names)
    }

    fn commit(&self) -> (Option<String>, bool) {
        match &self.sources {
            Some(sources) => (Some(sources.tree.commit.clone()), sources.tree.dirty),
            None => (None, false),
        }
    }

    fn facts(&self) -> Option<SourceFacts> {
        let tree = &self.sources.as_ref()?.tree;
        Some(SourceFacts {
            branch: tree.branch.clone(),
            ..self.ground.git.facts_of(&tree.commit, tree.dirty)
        })
    }

    /// What is declared and not pushed.
    fn left_out(&self) -> Vec<String> {
        let path = |name: &str| self.ground.image_path(name);
        let pushed: Vec<Member> = self
            .set
            .members
            .iter()
            .map(|member| Member {
                path: path(&member.image),
                variant: member.variant.clone(),
            })
            .collect();
        let members = self.ground.project.members();
        let missing = members.filter(|member| !pushed.contains(member));
        missing.map(|member| member.to_string()).collect()
    }

    /// What the channel has of images that are not pushed and still declared.
    fn kept(&self, current: Option<&KeptRecord>) -> Result<Vec<ChannelImage>, ProgramError> {
        let declared: Vec<Member> = self.ground.project.members().collect();
        let images = current.map(|current| &current.record.images[..]);
        let mut kept = Vec::new();
        for image in images.unwrap_or_default() {
            // By its place, not by its name: an image may be called otherwise by now.
            let is_pushed = self.set.members.iter().any(|member| {
                self.ground.image_path(&member.image) == image.path
                    && member.variant == image.variant
            });
            let is_declared = declared
                .iter()
                .any(|member| member.path == image.path && member.variant == image.variant);
            if is_declared && !is_pushed {
                own_repository(self.ground, &self.channel, image)?;
                kept.push(image.clone());
            }
        }
        Ok(kept)
    }

    /// What the record is going to say of an image.
    fn image(&self, built: &BuiltMember) -> Result<ChannelImage, ProgramError> {
        let member = self.member(&built.member);
        Ok(ChannelImage {
            name: built.member.image.clone(),
            variant: member.variant.clone(),
            repository: self.ground.repository(&self.channel, &member)?.to_string(),
            path: member.path,
            digest: built.root.digest.clone(),
            platforms: built.platforms.clone(),
            tags: self.own_tags.iter().map(ToString::to_string).collect(),
            input_digest: Some(built.input.clone()),
            commit: self.commit().0,
        })
    }

    fn member(&self, member: &declared::Member) -> Member {
        Member {
            path: self.ground.image_path(&member.image),
            variant: member.variant.clone(),
        }
    }

    /// What would be done. Nothing is built, so digests are not known.
    fn planned(
        &self,
        kept: &[ChannelImage],
        admitted: &Admitted,
        current: Option<&KeptRecord>,
    ) -> Result<Moved, ProgramError> {
        let mut images = Vec::new();
        for member in &self.set.members {
            let repository = self
                .ground
                .repository(&self.channel, &self.member(member))?;
            images.push(json!({
                "name": member.image,
                "variant": member.variant,
                "repository": repository.to_string(),
                "digest": null,
                "moved": true,
            }));
        }
        images.extend(kept.iter().map(|image| {
            json!({
                "name": image.name,
                "variant": image.variant,
                "repository": image.repository,
                "digest": image.digest,
                "moved": false,
            })
        }));
        let (commit, dirty) = self.commit();
        Ok(Moved::Planned(json!({
            "channel": self.channel.as_str(),
            "commit": commit,
            "dirty": dirty,
            "mixed": !self.left_out().is_empty(),
            "who": admitted.who,
            "override": admitted.overridden,
            "previous": current.map(|current| &current.digest),
            "images": images,
        })))
    }
}
