//! Channels: names, rules, and where their images are.

use policy::{ChannelName, ChannelPlace, Layout, LayoutError, Member, Rule, RuleError, seats};

use super::Findings;
use crate::{PLAIN, Project};

/// Stands for the channel of a user, and for a registry that is not declared.
const SOMEBODY: &str = "somebody";
const SOMEWHERE: &str = "registry.example";

pub(super) fn check(findings: &mut Findings<'_>) {
    let project = findings.project();
    for (name, channel) in &project.channels {
        if let Err(error) = name.parse::<ChannelName>() {
            findings.report(&["channels", name], error.reason, "not a name", None);
        }
        for (index, rule) in channel.require.iter().enumerate() {
            let Err(error) = rule.parse::<Rule>() else {
                continue;
            };
            let index = index.to_string();
            let path = ["channels", name.as_str(), "require", &index];
            let (message, help) = match &error {
                RuleError::Unknown { name, near } => (
                    format!("there is no rule `{}`", crate::form::cut(name)),
                    near.map(|near| format!("did you mean `{near}`?")),
                ),
                RuleError::Incomplete { .. }
                | RuleError::Surplus { .. }
                | RuleError::TooLong { .. } => (error.to_string(), None),
            };
            findings.report(&path, &message, "not a rule", help);
        }
    }
    let default = &project.channel_layout.default;
    if let Err(error) = default.replace("{user}", SOMEBODY).parse::<ChannelName>() {
        let help = "a name, in which `{user}` stands for the name of the user".to_owned();
        let path = ["channel-layout", "default"];
        findings.report(&path, error.reason, "not a name", Some(help));
    }
    if findings.found.is_empty() {
        layout(findings, project);
    }
}

/// Two images must not be in one repository, in any channel that is declared.
fn layout(findings: &mut Findings<'_>, project: &Project) {
    let path = ["channel-layout", "repository"];
    let layout = match Layout::new(&project.channel_layout.repository) {
        Ok(layout) => layout,
        Err(error) => return findings.report(&path, &error.to_string(), "not a layout", None),
    };
    let members: Vec<Member> = project.members().collect();
    let somewhere = || project.registry.clone().unwrap_or(SOMEWHERE.to_owned());
    let mut places = Vec::new();
    let own = (SOMEBODY, None, None);
    let declared = project.channels.iter().map(|(name, channel)| {
        (
            name.as_str(),
            channel.registry.as_ref(),
            channel.prefix.as_ref(),
        )
    });
    for (name, registry, prefix) in std::iter::once(own).chain(declared) {
        let Ok(channel) = name.parse() else { continue };
        let prefix = prefix.or(project.prefix.as_ref()).cloned();
        places.push(ChannelPlace {
            registry: registry.cloned().unwrap_or_else(somewhere),
            prefix: prefix.unwrap_or_default(),
            channel,
        });
    }
    let Err(error) = seats(&layout, &places, &members) else {
        return;
    };
    let help = match &error {
        LayoutError::Conflict { .. }
            if !project.channel_layout.repository.contains("{variant}") =>
        {
            Some("the layout needs `{variant}`".to_owned())
        }
        LayoutError::Conflict { .. } => Some("give one of them another `path`".to_owned()),
        LayoutError::TooLong { .. }
        | LayoutError::Brace { .. }
        | LayoutError::Unknown { .. }
        | LayoutError::Missing { .. }
        | LayoutError::Repository { .. } => None,
    };
    let path: &[&str] = match findings.declared.places.exact(&path) {
        Some(_) => &path,
        None => &["images"],
    };
    findings.report(path, &error.to_string(), "in channels", help);
}

impl Project {
    /// Every image in each of its variants.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.images.iter().flat_map(|(name, image)| {
            let path = image.path.as_ref().unwrap_or(name);
            image.variant_names().map(|variant| Member {
                path: path.clone(),
                variant: variant.to_owned(),
            })
        })
    }
}

impl crate::ImageDeclaration {
    /// Its variants: those that are declared, or `plain` alone.
    pub fn variant_names(&self) -> impl Iterator<Item = &str> {
        let plain = self.variants.is_empty().then_some(PLAIN);
        self.variants.iter().map(String::as_str).chain(plain)
    }
}
