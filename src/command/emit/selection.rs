//! Which published images are meant.

use std::path::PathBuf;

use clap::Args;
use handoff::PublishedImage;
use publish::Report;

use crate::error::ProgramError;
use crate::ports;
use crate::settings::Settings;

/// The most of a report that is read, in bytes.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// Which images.
#[derive(Args, Debug)]
pub(super) struct SelectionOptions {
    /// Images of this report, which `--report` of build, push or channel wrote [default: the last
    /// publication of the store]
    #[arg(long, value_name = "FILE", conflicts_with = "publication")]
    report: Option<PathBuf>,

    /// Images of this publication: the beginning of its digest
    #[arg(long, value_name = "DIGEST")]
    publication: Option<String>,

    /// Only this image, can be repeated [default: all]
    #[arg(long = "image", value_name = "NAME")]
    images: Vec<String>,

    /// Only what is in this repository or below it, for images that were sent to several
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
}

/// What is meant.
pub(super) struct Selected {
    /// When it was published.
    pub(super) finished: String,
    /// Each name once: as it was published, and as other files name it.
    pub(super) published: Vec<(publish::PublishedImage, PublishedImage)>,
}

impl Selected {
    /// As other files name them.
    pub(super) fn images(&self) -> Vec<PublishedImage> {
        let handed = self.published.iter().map(|(_, handed)| handed.clone());
        handed.collect()
    }
}

/// An image as other files name it: by a tag that never moves, where it has one.
fn handed(image: &publish::PublishedImage) -> Result<PublishedImage, ProgramError> {
    let tag = image
        .tags
        .iter()
        .find(|tag| !tag.floating)
        .or(image.tags.first());
    let repository = image
        .repository
        .parse()
        .map_err(|error: oci::ReferenceError| {
            ProgramError::input(format!("the report says something odd of {}", image.name))
                .because(&error)
        })?;
    Ok(PublishedImage {
        name: image.name.clone(),
        repository,
        tag: tag.and_then(|tag| tag.reference.tag().cloned()),
        digest: image.digest.clone(),
    })
}

impl SelectionOptions {
    /// The images.
    pub(super) fn read(&self, settings: &Settings) -> Result<Selected, ProgramError> {
        let report = self.report(settings)?;
        let names: Vec<String> = report
            .images
            .iter()
            .map(|image| image.name.clone())
            .collect();
        for wanted in &self.images {
            if !names.contains(wanted) {
                let nearest =
                    dockerfile::suggest::nearest(wanted, names.iter().map(String::as_str));
                let error = ProgramError::input(format!("no image `{wanted}` was published"));
                return Err(match nearest {
                    Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
                    None => error.hint(format!("there are {}", names.join(", "))),
                });
            }
        }
        let is_below = |image: &publish::PublishedImage| match &self.repository {
            None => true,
            Some(wanted) => {
                let rest = image.repository.strip_prefix(wanted.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        let published: Vec<_> = report
            .images
            .into_iter()
            .filter(|image| self.images.is_empty() || self.images.contains(&image.name))
            .filter(|image| is_below(image))
            .collect();
        if published.is_empty() {
            return Err(ProgramError::input("nothing that is meant was published"));
        }
        for (at, image) in published.iter().enumerate() {
            if let Some(other) = published[..at]
                .iter()
                .find(|other| other.name == image.name)
            {
                return Err(ProgramError::input(format!(
                    "`{}` was sent to {} and to {}",
                    image.name, other.repository, image.repository
                ))
                .hint("say which is meant with --repository"));
            }
        }
        let published = published.into_iter().map(|image| {
            let handed = handed(&image)?;
            Ok((image, handed))
        });
        Ok(Selected {
            finished: report.finished,
            published: published.collect::<Result<_, ProgramError>>()?,
        })
    }

    fn report(&self, settings: &Settings) -> Result<Report, ProgramError> {
        if let Some(path) = &self.report {
            let shown = path.display();
            let bytes = read_bounded(path).map_err(|error| {
                ProgramError::input(format!("the report {shown} cannot be read")).because(&error)
            })?;
            return Report::read(&bytes).ok_or_else(|| {
                ProgramError::input(format!("{shown} is not a report that this kiln can read"))
                    .hint("`--report FILE` of kiln build, push or channel push writes one")
            });
        }
        let store = ports::open_store(settings)?;
        match &self.publication {
            Some(beginning) => Report::find(&store, beginning).ok_or_else(|| {
                ProgramError::input(format!(
                    "this store knows of no publication `{beginning}`"
                ))
            }),
            None => Report::last(&store).ok_or_else(|| {
                ProgramError::input("nothing was published from this store yet").hint(
                    "publish with `kiln build --push`, `kiln push` or `kiln channel push`, or name a \
                     report with --report",
                )
            }),
        }
    }
}

fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(REPORT_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
