//! Which keys of a chart's values an image is written as. There is no standard; three forms are
//! common, and a template says all others.

use std::str::FromStr;

use crate::PublishedImage;

/// The most keys that a template may have.
const KEYS_MAX: usize = 16;

/// Keys, and a template for the value of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<(String, String)>);

/// Why a text is no shape, or a shape cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Neither a name nor a template.
    #[error(
        "`{0}` is not a shape: it is hub-name-tag, registry-repository-tag, repository-tag, \
         repository-digest, or KEY=TEMPLATE[,KEY=TEMPLATE]… with {{registry}}, {{hub}}, {{path}}, \
         {{repository}}, {{name}}, {{tag}} and {{digest}}"
    )]
    Unknown(String),
    /// A placeholder that there is not.
    #[error(
        "`{{{0}}}` means nothing: there are {{registry}}, {{hub}}, {{path}}, {{repository}}, {{name}}, {{tag}} and {{digest}}"
    )]
    Placeholder(String),
    /// It needs a tag.
    #[error(
        "{0} was published without a tag, and these values need one: use the shape repository-digest"
    )]
    NoTag(String),
}

const NAMED: &[(&str, &str)] = &[
    ("hub-name-tag", "hub={hub},name={name},tag={tag}"),
    (
        "registry-repository-tag",
        "registry={registry},repository={path},tag={tag}",
    ),
    ("repository-tag", "repository={repository},tag={tag}"),
    (
        "repository-digest",
        "repository={repository},digest={digest}",
    ),
];

impl Shape {
    /// The keys and values of an image.
    ///
    /// # Errors
    ///
    /// [`ShapeError::NoTag`] for an image without a tag where one is needed.
    pub(crate) fn fill(&self, image: &PublishedImage) -> Result<Vec<(String, String)>, ShapeError> {
        let fill = |(key, template): &(String, String)| Ok((key.clone(), filled(template, image)?));
        self.0.iter().map(fill).collect()
    }
}

fn filled(template: &str, image: &PublishedImage) -> Result<String, ShapeError> {
    let repository = image.repository.to_string();
    let (hub, name) = repository.rsplit_once('/').unwrap_or(("", &repository));
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (word, after) = behind.split_once('}').unwrap_or((behind, ""));
        out.push_str(before);
        out.push_str(match word {
            "registry" => image.repository.registry(),
            "hub" => hub,
            "path" => image.repository.path(),
            "repository" => &repository,
            "name" => name,
            "digest" => image.digest.as_str(),
            "tag" => match &image.tag {
                Some(tag) => tag.as_str(),
                None => return Err(ShapeError::NoTag(image.name.clone())),
            },
            other => return Err(ShapeError::Placeholder(other.to_owned())),
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let named = NAMED.iter().find(|(name, _)| *name == text);
        let template = named.map_or(text, |(_, template)| template);
        let unknown = || ShapeError::Unknown(text.to_owned());
        let pairs: Vec<(String, String)> = template
            .split(',')
            .map(|pair| {
                let (key, value) = pair.split_once('=').ok_or_else(unknown)?;
                let is_key = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
                if key.is_empty() || !key.chars().all(is_key) {
                    return Err(unknown());
                }
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect::<Result<_, _>>()?;
        if pairs.len() > KEYS_MAX {
            return Err(unknown());
        }
        let sample = PublishedImage {
            name: "x".to_owned(),
            repository: "registry.example/x"
                .parse::<oci::Reference>()
                .expect("a constant")
                .repository()
                .clone(),
            tag: "x".parse().ok(),
            digest: oci::Digest::of(b""),
        };
        for (_, template) in &pairs {
            filled(template, &sample)?;
        }
        Ok(Self(pairs))
    }
}
