//! Where the images of a channel are: a template for names of repositories.

use std::collections::BTreeMap;

use oci::Repository;

use super::ChannelName;

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1024;

/// What stands between the parts of a name. What stands around a part that is empty collapses.
const SEPARATORS: &[char] = &['/', '-', '_', '.'];

/// The variant that names do not mention.
const PLAIN: &str = "plain";

/// A template such as `{registry}/{channel}-{variant}-{image}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Registry,
    Prefix,
    Channel,
    Variant,
    Image,
}

const FIELDS: &[(&str, Field)] = &[
    ("registry", Field::Registry),
    ("prefix", Field::Prefix),
    ("channel", Field::Channel),
    ("variant", Field::Variant),
    ("image", Field::Image),
];

/// Where a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPlace {
    /// The registry, with a path if it has one.
    pub registry: String,
    /// A path below it; empty for none.
    pub prefix: String,
    /// The channel.
    pub channel: ChannelName,
}

/// One image in one variant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its path: its name, unless the declaration says another.
    pub path: String,
    /// The variant.
    pub variant: String,
}

/// One image in one variant of one channel, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The channel.
    pub channel: ChannelName,
    /// The image.
    pub member: Member,
    /// Its repository.
    pub repository: Repository,
}

/// Why images of a channel have no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The template is longer than 1024 bytes.
    #[error("the layout of channels has {bytes} bytes, more than {TEMPLATE_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A brace without its other half.
    #[error("a brace is open in the layout of channels `{template}`")]
    Brace {
        /// The template.
        template: String,
    },
    /// No such field.
    #[error(
        "the layout of channels has `{{{name}}}`, which stands for nothing: there are `{{registry}}`, \
         `{{prefix}}`, `{{channel}}`, `{{variant}}` and `{{image}}`"
    )]
    Unknown {
        /// The text between the braces.
        name: String,
    },
    /// Names without it would be of several images at once.
    #[error("the layout of channels `{template}` needs `{{{field}}}`{place}")]
    Missing {
        /// The template.
        template: String,
        /// The field.
        field: &'static str,
        /// Where it must stand.
        place: &'static str,
    },
    /// The name that comes out is no repository.
    #[error("{what} has no place in the channel `{channel}`: {reason}")]
    Repository {
        /// The image.
        what: String,
        /// The channel.
        channel: ChannelName,
        /// What is wrong with the name.
        reason: String,
    },
    /// Two things would be in one repository.
    #[error("{one} and {other} would both be in `{repository}`")]
    Conflict {
        /// One.
        one: String,
        /// The other.
        other: String,
        /// Where.
        repository: String,
    },
}

impl Layout {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// Fields that do not exist, and templates that give several images one name.
    pub fn new(template: &str) -> Result<Self, LayoutError> {
        if template.len() > TEMPLATE_BYTES_MAX {
            return Err(LayoutError::TooLong {
                bytes: template.len(),
            });
        }
        let open = || LayoutError::Brace {
            template: template.to_owned(),
        };
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or_else(open)?;
            let known = FIELDS.iter().find(|(known, _)| *known == name);
            let (_, field) = known.ok_or_else(|| LayoutError::Unknown {
                name: name.to_owned(),
            })?;
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(Piece::Field(*field));
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        let is_closed = |piece: &Piece| !matches!(piece, Piece::Text(text) if text.contains('}'));
        if !pieces.iter().all(is_closed) {
            return Err(open());
        }
        let missing = |field, place| LayoutError::Missing {
            template: template.to_owned(),
            field,
            place,
        };
        if pieces.first() != Some(&Piece::Field(Field::Registry)) {
            return Err(missing("registry", " at its start"));
        }
        for (name, field) in FIELDS {
            let is_needed = matches!(field, Field::Channel | Field::Image);
            if is_needed && !pieces.contains(&Piece::Field(*field)) {
                return Err(missing(name, ""));
            }
        }
        Ok(Self { pieces })
    }

    /// The repository of an image.
    ///
    /// # Errors
    ///
    /// When the name that comes out is no repository.
    pub fn repository(
        &self,
        place: &ChannelPlace,
        member: &Member,
    ) -> Result<Repository, LayoutError> {
        let name = self.fill(place, &member.variant, &member.path);
        parsed(&name, &member.to_string(), place)
    }

    /// The repository of the channel's record: the name of an image without variant and image.
    ///
    /// # Errors
    ///
    /// When the name that comes out is no repository.
    pub fn record_repository(&self, place: &ChannelPlace) -> Result<Repository, LayoutError> {
        parsed(&self.fill(place, "", ""), "its record", place)
    }

    /// What stands before the name of every image of a variant, from the registry on, separator
    /// included: `kevin-debug-`. `None` when the image is not the last part of names.
    pub fn image_prefix(&self, place: &ChannelPlace, variant: &str) -> Option<String> {
        if self.pieces.last() != Some(&Piece::Field(Field::Image)) {
            return None;
        }
        // No separator, so that what stands before it stays.
        const MARK: &str = "x";
        let whole = self.fill(place, variant, MARK);
        let below = whole.strip_prefix(&place.registry)?.strip_suffix(MARK)?;
        Some(below.trim_start_matches('/').to_owned())
    }

    fn fill(&self, place: &ChannelPlace, variant: &str, image: &str) -> String {
        let mut pieces: Vec<String> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field(Field::Registry) => place.registry.trim_end_matches('/').to_owned(),
                Piece::Field(Field::Prefix) => place.prefix.trim_matches('/').to_owned(),
                Piece::Field(Field::Channel) => place.channel.to_string(),
                Piece::Field(Field::Variant) if variant == PLAIN => String::new(),
                Piece::Field(Field::Variant) => variant.to_owned(),
                Piece::Field(Field::Image) => image.to_owned(),
            })
            .collect();
        for at in 0..pieces.len() {
            let is_field = matches!(self.pieces[at], Piece::Field(_));
            if is_field && pieces[at].is_empty() {
                collapse(&mut pieces, at);
            }
        }
        pieces.concat()
    }
}

/// Where separators meet because the field between them is empty, or one hangs at the end, takes one
/// away: the one that binds more closely, so that the path stays a path, and of two equal ones the
/// one behind.
fn collapse(pieces: &mut [String], at: usize) {
    let before = pieces[..at].iter().rposition(|piece| !piece.is_empty());
    let behind = pieces[at..].iter().position(|piece| !piece.is_empty());
    let behind = behind.map(|further| at + further);
    let last = before.and_then(|index| pieces[index].chars().next_back());
    let first = behind.and_then(|index| pieces[index].chars().next());
    let is_separator = |letter: char| SEPARATORS.contains(&letter);
    let drop_behind = match (last, first) {
        (Some('/'), Some(first)) => is_separator(first),
        (Some(last), Some('/')) if is_separator(last) => false,
        (Some(last), Some(first)) => is_separator(last) && is_separator(first),
        (None, Some(first)) => is_separator(first),
        (_, None) => false,
    };
    let drop_before = match (last, first) {
        (Some(last), Some(first)) => is_separator(last) && is_separator(first) && !drop_behind,
        (Some(last), None) => is_separator(last),
        (None, _) => false,
    };
    match (before, behind) {
        (_, Some(behind)) if drop_behind => {
            pieces[behind].remove(0);
        }
        (Some(before), _) if drop_before => {
            pieces[before].pop();
        }
        _ => {}
    }
}

fn parsed(name: &str, what: &str, place: &ChannelPlace) -> Result<Repository, LayoutError> {
    name.parse()
        .map_err(|error: oci::ReferenceError| LayoutError::Repository {
            what: what.to_owned(),
            channel: place.channel.clone(),
            reason: error.to_string(),
        })
}

impl std::fmt::Display for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.variant.as_str() {
            PLAIN | "" => formatter.write_str(&self.path),
            variant => write!(formatter, "{} ({variant})", self.path),
        }
    }
}

/// Where all members of all `places` are, in their order. What is to be in one repository twice is
/// found here, before anything is built: two images, a record and an image, or images of two
/// channels, as `a-b` with `c` and `a` with `b-c`.
///
/// # Errors
///
/// See [`LayoutError`].
pub fn seats(
    layout: &Layout,
    places: &[ChannelPlace],
    members: &[Member],
) -> Result<Vec<Seat>, LayoutError> {
    let mut taken: BTreeMap<Repository, String> = BTreeMap::new();
    let mut take = |repository: Repository, what: String| match taken.get(&repository) {
        Some(one) => Err(LayoutError::Conflict {
            one: one.clone(),
            other: what,
            repository: repository.to_string(),
        }),
        None => {
            taken.insert(repository, what);
            Ok(())
        }
    };
    let mut seats = Vec::new();
    for place in places {
        let record = layout.record_repository(place)?;
        take(
            record,
            format!("the record of the channel `{}`", place.channel),
        )?;
        for member in members {
            let repository = layout.repository(place, member)?;
            let what = format!("{member} of the channel `{}`", place.channel);
            take(repository.clone(), what)?;
            seats.push(Seat {
                channel: place.channel.clone(),
                member: member.clone(),
                repository,
            });
        }
    }
    Ok(seats)
}

#[cfg(test)]
mod tests;
