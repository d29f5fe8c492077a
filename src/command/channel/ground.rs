//! What all verbs of channels stand on: the declaration, who the user is, and where a channel is.

use clap::Args;
use oci::Repository;
use policy::{
    ChannelName, ChannelPlace, Layout, Member, Rule, UserName, UserNameSources, user_name,
};
use project::Project;
use publish::channel::{ChannelError, ChannelImage, KeptRecord, current_record};
use registry::Client;

use super::git::Git;
use crate::args::{ProjectOptions, RegistryOptions};
use crate::error::ProgramError;
use crate::project::{self as loading, LoadedProject, ProjectFlags};
use crate::settings::Settings;

/// Which project, which registry, which user.
#[derive(Args, Debug)]
pub(super) struct GroundOptions {
    /// Who the user is: the name of their channel [default: KILN_USER, or what git's user.email has
    /// before the at sign, or the account on this machine]
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,

    #[command(flatten)]
    pub(super) project: ProjectOptions,

    #[command(flatten)]
    pub(super) registry: RegistryOptions,
}

/// The declaration, and what follows from it for channels.
pub(super) struct Ground {
    /// The file, where there is one.
    pub(super) loaded: Option<LoadedProject>,
    /// What counts.
    pub(super) project: Project,
    /// Where images are.
    pub(super) layout: Layout,
    /// The sources.
    pub(super) git: Git,
    /// The channel that is meant when none is named, before `{user}` is replaced.
    default: String,
    sources: UserNameSources,
}

impl Ground {
    /// Reads the declaration. Channels can be looked at without one.
    pub(super) fn read(options: &GroundOptions, settings: &Settings) -> Result<Self, ProgramError> {
        let flags = ProjectFlags::from(&options.project);
        let loaded = loading::find(settings, flags)?;
        Self::new(loaded, options, settings)
    }

    /// The same, where images are built.
    pub(super) fn read_declared(
        options: &GroundOptions,
        settings: &Settings,
    ) -> Result<Self, ProgramError> {
        let loaded = loading::load(settings, ProjectFlags::from(&options.project))?;
        Self::new(Some(loaded), options, settings)
    }

    fn new(
        loaded: Option<LoadedProject>,
        options: &GroundOptions,
        settings: &Settings,
    ) -> Result<Self, ProgramError> {
        let project = match &loaded {
            Some(loaded) => loaded.values().clone(),
            None => without_a_file(options, settings),
        };
        let layout = Layout::new(&project.channel_layout.repository)
            .map_err(|error| ProgramError::input(error.to_string()))?;
        let directory = loaded.as_ref().map(|loaded| loaded.directory.as_path());
        let git = Git::new(directory.unwrap_or(".".as_ref()), settings);
        let sources = UserNameSources {
            flag: options.user.clone(),
            variable: set(settings, "KILN_USER"),
            email: git.email(),
            account: settings.account(),
        };
        let named = loaded
            .as_ref()
            .and_then(|loaded| loaded.layered.channel.as_ref());
        let default = match named {
            Some(channel) => channel.value.clone(),
            None => project.channel_layout.default.clone(),
        };
        Ok(Self {
            loaded,
            project,
            layout,
            git,
            default,
            sources,
        })
    }

    /// Who the user is.
    pub(super) fn user(&self) -> Result<UserName, ProgramError> {
        user_name(&self.sources).map_err(|error| {
            ProgramError::input(error.to_string())
                .hint("name a channel with --channel, or say who you are: --user or KILN_USER")
        })
    }

    /// The channel of that name, or the one that is meant when none is named.
    pub(super) fn channel(&self, name: Option<&str>) -> Result<ChannelName, ProgramError> {
        let name = match name {
            Some(name) => name.to_owned(),
            None if self.default.contains("{user}") => {
                self.default.replace("{user}", self.user()?.name.as_str())
            }
            None => self.default.clone(),
        };
        name.parse()
            .map_err(|error: policy::ChannelNameError| ProgramError::input(error.to_string()))
    }

    /// Where a channel is.
    pub(super) fn place(&self, channel: &ChannelName) -> Result<ChannelPlace, ProgramError> {
        let own = self.project.channels.get(channel.as_str());
        let registry = own
            .and_then(|own| own.registry.clone())
            .or_else(|| self.project.registry.clone())
            .ok_or_else(|| {
                ProgramError::input("nothing says which registry channels are in")
                    .hint("`registry:` in kiln.yaml, --registry or KILN_REGISTRY")
            })?;
        let prefix = own
            .and_then(|own| own.prefix.clone())
            .or_else(|| self.project.prefix.clone());
        Ok(ChannelPlace {
            registry,
            prefix: prefix.unwrap_or_default(),
            channel: channel.clone(),
        })
    }

    /// Where a channel's record is.
    pub(super) fn record_repository(
        &self,
        channel: &ChannelName,
    ) -> Result<Repository, ProgramError> {
        self.layout
            .record_repository(&self.place(channel)?)
            .map_err(|error| ProgramError::input(error.to_string()))
    }

    /// Where an image of a channel is.
    pub(super) fn repository(
        &self,
        channel: &ChannelName,
        member: &Member,
    ) -> Result<Repository, ProgramError> {
        self.layout
            .repository(&self.place(channel)?, member)
            .map_err(|error| ProgramError::input(error.to_string()))
    }

    /// Whether a channel is protected, and its rules.
    pub(super) fn rules(&self, channel: &ChannelName) -> Result<(bool, Vec<Rule>), ProgramError> {
        let Some(own) = self.project.channels.get(channel.as_str()) else {
            return Ok((false, Vec::new()));
        };
        let rules = own.require.iter().map(|rule| rule.parse::<Rule>());
        let rules = rules
            .collect::<Result<Vec<Rule>, _>>()
            .map_err(|error| ProgramError::input(error.to_string()))?;
        Ok((own.protected, rules))
    }

    /// The path of an image below its channel.
    pub(super) fn image_path(&self, name: &str) -> String {
        let declared = self.project.images.get(name);
        let path = declared.and_then(|declared| declared.path.clone());
        path.unwrap_or_else(|| name.to_owned())
    }

    /// Images that are declared and are not among these.
    pub(super) fn left_out(&self, images: &[ChannelImage]) -> Vec<String> {
        let is_there = |member: &Member| {
            images
                .iter()
                .any(|image| image.path == member.path && image.variant == member.variant)
        };
        let members = self.project.members();
        let missing = members.filter(|member| !is_there(member));
        missing.map(|member| member.to_string()).collect()
    }

    /// What a channel has now; `None` when it has nothing.
    pub(super) async fn current(
        &self,
        client: &Client,
        channel: &ChannelName,
    ) -> Result<Option<KeptRecord>, ProgramError> {
        let repository = self.record_repository(channel)?;
        current_record(client, &repository, channel.as_str())
            .await
            .map_err(unreadable)
    }

    /// What a channel has now, which must be something.
    pub(super) async fn present(
        &self,
        client: &Client,
        channel: &ChannelName,
    ) -> Result<KeptRecord, ProgramError> {
        match self.current(client, channel).await? {
            Some(kept) => Ok(kept),
            None => {
                let repository = self.record_repository(channel)?;
                Err(
                    ProgramError::input(format!("there is no channel `{channel}` at {repository}"))
                        .hint("`kiln channel list` shows those that there are"),
                )
            }
        }
    }
}

/// A record could not be read.
pub(super) fn unreadable(error: ChannelError) -> ProgramError {
    let headline = error.to_string();
    match &error {
        ChannelError::Wire { source, .. } => ProgramError::registry(headline, source),
        ChannelError::Record { source, .. } => ProgramError::failed(headline).because(source),
    }
}

/// The defaults, and what flags and the environment say.
fn without_a_file(options: &GroundOptions, settings: &Settings) -> Project {
    let either = |flag: &Option<String>, name| flag.clone().or_else(|| set(settings, name));
    Project {
        registry: either(&options.project.registry, "KILN_REGISTRY"),
        prefix: either(&options.project.prefix, "KILN_PREFIX"),
        ..Project::default()
    }
}

/// A variable that is set and not empty.
fn set(settings: &Settings, name: &str) -> Option<String> {
    settings.variable(name).filter(|value| !value.is_empty())
}
