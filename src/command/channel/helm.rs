//! The images of a channel as Helm values, each pinned by its digest.

use std::fmt::Write;

use project::{HelmShape, Project};
use publish::channel::{ChannelImage, KeptRecord};
use serde_json::{Map, Value, json};

use super::appearance::{commit, image_name, pinned};
use crate::error::ProgramError;

/// The values. Images without a variant of that name are left out; without a name, images are taken
/// plain, and those that are not made plain in the variant that they have.
pub(super) fn values(
    project: &Project,
    kept: &KeptRecord,
    variant: Option<&str>,
    container_channel: Option<&str>,
) -> Result<String, ProgramError> {
    let record = &kept.record;
    let mut values = Map::new();
    if let Some(container_channel) = container_channel {
        values.insert("containerChannel".to_owned(), json!(container_channel));
    }
    let mut names: Vec<&str> = record
        .images
        .iter()
        .map(|image| image.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut pinned_count = 0;
    for name in names {
        let of = |variant| record.image(name, variant);
        let any = || record.images.iter().find(|image| image.name == name);
        let Some(image) = (match variant {
            Some(variant) => of(variant),
            None => of(project::PLAIN).or_else(any),
        }) else {
            continue;
        };
        let declared = project
            .images
            .get(name)
            .and_then(|declared| declared.helm.as_ref());
        let (path, value) = match declared {
            Some(helm) => (helm.path.clone(), shaped(helm.shape, image, &record.tag)),
            None => (format!("images.{name}"), plain(image)),
        };
        // The name of an image may have dots; a path that is declared has them on purpose.
        let path: Vec<&str> = match declared {
            Some(_) => path.split('.').collect(),
            None => vec!["images", name],
        };
        if !put(&mut values, &path, value) {
            let what = image_name(&image.name, &image.variant);
            return Err(ProgramError::input(format!(
                "the Helm value `{}` of {what} is another image's too",
                path.join(".")
            )));
        }
        pinned_count += 1;
    }
    if pinned_count == 0 {
        return Err(ProgramError::input(format!(
            "the channel `{}` has no image in the variant `{}`",
            record.channel,
            variant.unwrap_or(project::PLAIN)
        )));
    }
    let mut out = format!(
        "# The channel {} as of {} ({}), record {}\n",
        record.channel,
        record.when,
        commit(record.commit.as_deref(), record.dirty),
        kept.digest
    );
    yaml(&mut out, &values, 0);
    Ok(out)
}

/// For charts that nobody declared anything about.
fn plain(image: &ChannelImage) -> Value {
    json!({
        "repository": image.repository,
        "digest": image.digest,
        "image": pinned(image),
    })
}

/// As the chart has it. A tag with the digest behind it is pinned wherever a chart writes a colon in
/// front of it.
fn shaped(shape: HelmShape, image: &ChannelImage, tag: &str) -> Value {
    let tag = format!("{tag}@{}", image.digest);
    let (hub, name) = image
        .repository
        .rsplit_once('/')
        .unwrap_or(("", &image.repository));
    let (registry, path) = image
        .repository
        .split_once('/')
        .unwrap_or(("", &image.repository));
    match shape {
        HelmShape::HubNameTag => json!({"hub": hub, "name": name, "tag": tag}),
        HelmShape::RegistryRepositoryTag => {
            json!({"registry": registry, "repository": path, "tag": tag})
        }
        HelmShape::RepositoryTag => json!({"repository": image.repository, "tag": tag}),
        HelmShape::RepositoryDigest => {
            json!({"repository": image.repository, "digest": image.digest})
        }
    }
}

/// Puts a value where it belongs; false when something else is there.
fn put(values: &mut Map<String, Value>, path: &[&str], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    if rest.is_empty() {
        return values.insert((*first).to_owned(), value).is_none();
    }
    let below = values
        .entry(*first)
        .or_insert_with(|| Value::Object(Map::new()));
    match below {
        Value::Object(below) => put(below, rest, value),
        _ => false,
    }
}

/// A map as YAML: keys and texts in the quotes of JSON, which YAML reads too.
fn yaml(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (key, value) in map {
        let is_word = |key: &str| {
            key.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
                // What YAML 1.1 takes for something else than a text.
                && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
                    .contains(&key.to_ascii_lowercase().as_str())
        };
        let key = match is_word(key) {
            true => key.clone(),
            false => json!(key).to_string(),
        };
        let _ = write!(out, "{:indent$}{key}:", "", indent = depth * 2);
        match value {
            Value::Object(below) => {
                out.push('\n');
                yaml(out, below, depth + 1);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                let _ = writeln!(out, " {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use oci::Digest;
    use project::{HelmValues, ImageDeclaration};
    use publish::channel::{ChannelRecord, Who};

    use super::*;

    fn image(name: &str, variant: &str) -> ChannelImage {
        ChannelImage {
            name: name.into(),
            variant: variant.into(),
            path: name.into(),
            repository: format!("r.example/p/kevin/{variant}/{name}"),
            digest: Digest::of(b""),
            platforms: Vec::new(),
            tags: Vec::new(),
            input_digest: None,
            commit: None,
        }
    }

    fn kept(images: Vec<ChannelImage>) -> KeptRecord {
        KeptRecord {
            digest: Digest::of(b"record"),
            record: ChannelRecord {
                schema: 1,
                channel: "kevin".into(),
                commit: None,
                dirty: false,
                mixed: false,
                who: Who {
                    name: "kevin".into(),
                    verified: false,
                    issuer: None,
                },
                when: "2026-01-01T00:00:00Z".into(),
                tool: "kiln".into(),
                previous: None,
                origin: None,
                overridden: None,
                tag: "latest".into(),
                images,
            },
        }
    }

    /// The values without their first line, digests shortened.
    fn check(
        project: &Project,
        kept: &KeptRecord,
        variant: Option<&str>,
        expected: Result<&str, &str>,
    ) {
        let found = values(project, kept, variant, Some("r.example/p/kevin"));
        let found = found.map(|text| {
            let (_, text) = text.split_once('\n').unwrap();
            text.replace(Digest::of(b"").as_str(), "DIGEST")
        });
        let found = found.map_err(|error| error.headline);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    fn declared(entries: &[(&str, &str, HelmShape)]) -> Project {
        let mut project = Project::default();
        for (name, path, shape) in entries {
            let helm = Some(HelmValues {
                path: (*path).into(),
                shape: *shape,
            });
            let declaration = ImageDeclaration {
                helm,
                ..ImageDeclaration::default()
            };
            project.images.insert((*name).into(), declaration);
        }
        project
    }

    #[test]
    fn every_shape_is_pinned() {
        let project = declared(&[
            ("a", "one.image", HelmShape::HubNameTag),
            ("b", "two", HelmShape::RegistryRepositoryTag),
            ("c", "one.other", HelmShape::RepositoryTag),
            ("d", "three", HelmShape::RepositoryDigest),
        ]);
        let images = ["a", "b", "c", "d", "e.f"];
        let kept = kept(images.map(|name| image(name, "debug")).into());
        check(
            &project,
            &kept,
            Some("debug"),
            Ok("containerChannel: \"r.example/p/kevin\"\n\
                images:\n\
                \x20 \"e.f\":\n\
                \x20   digest: \"DIGEST\"\n\
                \x20   image: \"r.example/p/kevin/debug/e.f@DIGEST\"\n\
                \x20   repository: \"r.example/p/kevin/debug/e.f\"\n\
                one:\n\
                \x20 image:\n\
                \x20   hub: \"r.example/p/kevin/debug\"\n\
                \x20   name: \"a\"\n\
                \x20   tag: \"latest@DIGEST\"\n\
                \x20 other:\n\
                \x20   repository: \"r.example/p/kevin/debug/c\"\n\
                \x20   tag: \"latest@DIGEST\"\n\
                three:\n\
                \x20 digest: \"DIGEST\"\n\
                \x20 repository: \"r.example/p/kevin/debug/d\"\n\
                two:\n\
                \x20 registry: \"r.example\"\n\
                \x20 repository: \"p/kevin/debug/b\"\n\
                \x20 tag: \"latest@DIGEST\"\n"),
        );
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        let project = declared(&[
            ("a", "image", HelmShape::RepositoryTag),
            ("b", "image", HelmShape::RepositoryTag),
        ]);
        let both = kept(vec![image("a", "plain"), image("b", "plain")]);
        check(
            &project,
            &both,
            None,
            Err("the Helm value `image` of b is another image's too"),
        );
        check(
            &project,
            &both,
            Some("debug"),
            Err("the channel `kevin` has no image in the variant `debug`"),
        );
    }
}
