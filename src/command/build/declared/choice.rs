//! Which images, and in which variants.

use std::collections::BTreeSet;
use std::fmt;

use project::{PLAIN, Project};

use crate::error::ProgramError;

/// What was asked for; empty lists ask for everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection<'s> {
    /// Images by their names.
    pub(crate) images: &'s [String],
    /// All images of these groups.
    pub(crate) groups: &'s [String],
    /// Only these variants.
    pub(crate) variants: &'s [String],
}

/// One image in one variant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    /// The image, as the project calls it.
    pub(crate) image: String,
    /// Its variant: [`PLAIN`] or a declared one.
    pub(crate) variant: String,
}

impl Member {
    /// An image as it is built.
    pub(crate) fn plain(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            variant: PLAIN.to_owned(),
        }
    }

    /// Whether it is the image as it is built.
    pub(crate) fn is_plain(&self) -> bool {
        self.variant == PLAIN
    }
}

/// `epp`, or `epp (debug)`.
impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, variant } = self;
        match self.is_plain() {
            true => formatter.write_str(image),
            false => write!(formatter, "{image} ({variant})"),
        }
    }
}

/// The images and variants of a selection, by name and `plain` first: at least one.
pub(crate) fn members(
    project: &Project,
    selection: Selection<'_>,
) -> Result<Vec<Member>, ProgramError> {
    if project.images.is_empty() {
        return Err(ProgramError::input("the project declares no images")
            .hint("declare them under `images` in kiln.yaml"));
    }
    let images = images(project, selection)?;
    let known: BTreeSet<&str> = project
        .variants
        .keys()
        .map(String::as_str)
        .chain([PLAIN])
        .collect();
    for variant in selection.variants {
        if !known.contains(variant.as_str()) {
            let known: Vec<&str> = known.iter().copied().collect();
            return Err(unknown("variant", variant, &known));
        }
    }
    let mut members = Vec::new();
    for image in &images {
        let declared = &project.images[*image].variants;
        let all = match declared.as_slice() {
            [] => vec![PLAIN],
            declared => declared.iter().map(String::as_str).collect(),
        };
        for variant in all {
            let is_wanted = selection.variants.is_empty()
                || selection.variants.iter().any(|wanted| wanted == variant);
            if is_wanted {
                members.push(Member {
                    image: (*image).to_owned(),
                    variant: variant.to_owned(),
                });
            }
        }
    }
    if members.is_empty() {
        return Err(ProgramError::input(format!(
            "none of the images has the variant {}",
            selection.variants.join(" or ")
        ))
        .hint("an image has the variants that it lists under `variants`"));
    }
    members.sort_by_key(|member| {
        (
            member.image.clone(),
            !member.is_plain(),
            member.variant.clone(),
        )
    });
    Ok(members)
}

fn images<'p>(
    project: &'p Project,
    selection: Selection<'_>,
) -> Result<BTreeSet<&'p str>, ProgramError> {
    let all = || project.images.keys().map(String::as_str);
    if selection.images.is_empty() && selection.groups.is_empty() {
        return Ok(all().collect());
    }
    let mut images = BTreeSet::new();
    for wanted in selection.images {
        match project.images.get_key_value(wanted) {
            Some((name, _)) => images.insert(name.as_str()),
            None => return Err(unknown("image", wanted, &all().collect::<Vec<_>>())),
        };
    }
    for wanted in selection.groups {
        let mut of_group = project
            .images
            .iter()
            .filter(|(_, image)| image.group.as_ref() == Some(wanted))
            .peekable();
        if of_group.peek().is_none() {
            let groups: BTreeSet<&str> = project
                .images
                .values()
                .filter_map(|image| image.group.as_deref())
                .collect();
            let groups: Vec<&str> = groups.into_iter().collect();
            return Err(unknown("group", wanted, &groups));
        }
        images.extend(of_group.map(|(name, _)| name.as_str()));
    }
    Ok(images)
}

fn unknown(what: &str, wanted: &str, known: &[&str]) -> ProgramError {
    let error = ProgramError::input(format!("the project declares no {what} `{wanted}`"));
    match dockerfile::suggest::nearest(wanted, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => error,
        None => error.hint(format!("declared are {}", known.join(", "))),
    }
}
