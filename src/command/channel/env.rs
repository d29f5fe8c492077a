//! `kiln channel env`: what consumers have to be told to use a channel.

use std::process::ExitCode;

use clap::Args;
use policy::ChannelName;
use publish::channel::KeptRecord;
use serde_json::json;

use super::ground::{Ground, GroundOptions};
use super::helm;
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Print what consumers need to use a channel
///
/// Lines for a shell: `LATTICE_CONTAINER_REGISTRY` and `LATTICE_CONTAINER_REPO_PREFIX`, which together
/// with the name of an image are its repository, and `containerChannel`, which is what charts append
/// `/IMAGE` to. Only `--values` and templates that ask for it look at the registry.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  eval \"$(kiln channel env)\"\n  \
                        kiln channel env --variant debug --template '--backend-var \
                        lattice-container-repo-prefix={repo_prefix}'\n  \
                        helm upgrade app ./chart -f <(kiln channel env stable --values)")]
pub(super) struct EnvArguments {
    /// Channel [default: your own]
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,

    /// Variant of the images [default: plain]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,

    /// Print this instead, with {registry}, {repo_prefix}, {container_channel}, {channel}, {variant},
    /// {commit} and {record} replaced
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          conflicts_with_all = ["values", "format"])]
    template: Option<String>,

    /// Print Helm values with all images of the channel pinned by digest
    #[arg(long, conflicts_with = "format")]
    values: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

/// What the names of a channel's images are made of.
struct Names {
    channel: ChannelName,
    variant: String,
    registry: String,
    /// What stands between the registry and the name of an image.
    repo_prefix: String,
    /// Registry and path, where the name of an image is a path component of its own.
    container_channel: Option<String>,
}

impl Command for EnvArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let channel = ground.channel(self.channel.as_deref())?;
        let variant = self.variant.as_deref().unwrap_or(project::PLAIN);
        let is_known = variant == project::PLAIN
            || ground.loaded.is_none()
            || ground.project.variants.contains_key(variant);
        if !is_known {
            let message = format!("there is no variant `{variant}`");
            return Err(ProgramError::input(message).hint(known_variants(&ground)));
        }
        let names = names(&ground, channel, variant)?;
        let record = || {
            ports::converse(settings, presentation, async |client| {
                ground.present(client, &names.channel).await
            })
        };
        let text = if self.values {
            let chosen = self.variant.as_deref();
            let container_channel = names.container_channel.as_deref();
            helm::values(&ground.project, &record()?, chosen, container_channel)?
        } else if let Some(template) = &self.template {
            filled(template, &names, record)?
        } else {
            match self.format.format {
                Format::Text => shell(&names),
                Format::Json => format!("{:#}\n", names.json()),
            }
        };
        print_product(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn known_variants(ground: &Ground) -> String {
    let declared = ground.project.variants.keys().map(String::as_str);
    let others = declared.filter(|name| *name != project::PLAIN);
    let all: Vec<&str> = std::iter::once(project::PLAIN).chain(others).collect();
    format!("declared are {}", all.join(", "))
}

fn names(ground: &Ground, channel: ChannelName, variant: &str) -> Result<Names, ProgramError> {
    let place = ground.place(&channel)?;
    let Some(repo_prefix) = ground.layout.image_prefix(&place, variant) else {
        return Err(ProgramError::input(format!(
            "in the layout `{}` the image does not come last: no prefix selects a channel",
            ground.project.channel_layout.repository
        ))
        .hint("`kiln channel env --values` pins every image by its digest"));
    };
    let registry = place.registry.trim_end_matches('/').to_owned();
    let container_channel = repo_prefix
        .strip_suffix('/')
        .map(|path| format!("{registry}/{path}"));
    Ok(Names {
        channel,
        variant: variant.to_owned(),
        registry,
        repo_prefix,
        container_channel,
    })
}

impl Names {
    fn json(&self) -> serde_json::Value {
        json!({
            "schema": 1,
            "channel": self.channel.as_str(),
            "variant": self.variant,
            "registry": self.registry,
            "repo_prefix": self.repo_prefix,
            "container_channel": self.container_channel,
        })
    }
}

/// Assignments that a shell can read.
fn shell(names: &Names) -> String {
    let pairs = [
        ("LATTICE_CONTAINER_REGISTRY", Some(&names.registry)),
        ("LATTICE_CONTAINER_REPO_PREFIX", Some(&names.repo_prefix)),
        ("containerChannel", names.container_channel.as_ref()),
    ];
    let mut out = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            out += &format!("export {name}={}\n", quoted(value));
        }
    }
    out
}

/// One word of a POSIX shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A template with its fields replaced. The record is only asked for where one needs it.
fn filled(
    template: &str,
    names: &Names,
    record: impl FnOnce() -> Result<KeptRecord, ProgramError>,
) -> Result<String, ProgramError> {
    let kept = match template.contains("{commit}") || template.contains("{record}") {
        true => Some(record()?),
        false => None,
    };
    let mut out = String::new();
    let mut rest = template;
    while let Some((text, behind)) = rest.split_once('{') {
        out += text;
        let Some((field, behind)) = behind.split_once('}') else {
            return Err(ProgramError::input("a brace is open in --template"));
        };
        let commit = kept.as_ref().and_then(|kept| kept.record.commit.clone());
        let digest = kept.as_ref().map(|kept| kept.digest.to_string());
        let value = match field {
            "registry" => Some(names.registry.clone()),
            "repo_prefix" => Some(names.repo_prefix.clone()),
            "container_channel" => names.container_channel.clone(),
            "channel" => Some(names.channel.to_string()),
            "variant" => Some(names.variant.clone()),
            "commit" => commit,
            "record" => digest,
            _ => {
                return Err(ProgramError::input(format!(
                    "`{{{field}}}` in --template stands for nothing"
                ))
                .hint(
                    "there are {registry}, {repo_prefix}, {container_channel}, {channel}, \
                     {variant}, {commit} and {record}",
                ));
            }
        };
        out += &value.ok_or_else(|| {
            ProgramError::input(format!("this channel has nothing for `{{{field}}}`"))
        })?;
        rest = behind;
    }
    out += rest;
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_names() -> Names {
        Names {
            channel: "kevin".parse().unwrap(),
            variant: "debug".into(),
            registry: "gcr.io/lattice-dev".into(),
            repo_prefix: "kevin-debug-".into(),
            container_channel: None,
        }
    }

    #[test]
    fn shells_read_one_word() {
        for (text, expected) in [
            ("kevin-debug-", "'kevin-debug-'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a'b", r"'a'\''b'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(
            shell(&some_names()),
            "export LATTICE_CONTAINER_REGISTRY='gcr.io/lattice-dev'\n\
             export LATTICE_CONTAINER_REPO_PREFIX='kevin-debug-'\n"
        );
    }

    #[test]
    fn templates_have_fields() {
        let check = |template: &str, expected: Result<&str, &str>| {
            let asked = || Err(ProgramError::failed("asked"));
            let found = filled(template, &some_names(), asked);
            let found = found.map_err(|error| error.headline);
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        };
        check("p={repo_prefix}!", Ok("p=kevin-debug-!\n"));
        check("{registry}/{channel}", Ok("gcr.io/lattice-dev/kevin\n"));
        check("none", Ok("none\n"));
        check("{nme}", Err("`{nme}` in --template stands for nothing"));
        check("{channel", Err("a brace is open in --template"));
        check("{commit}", Err("asked"));
        check(
            "{container_channel}",
            Err("this channel has nothing for `{container_channel}`"),
        );
    }
}
