//! `kiln copy`: images go from one place to others, byte for byte.

mod destination;
mod product;
mod selection;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use engine::{Event, Ports};
use publish::{Address, Context, Item, Publication, Uploads, source};

use self::destination::Destination;
use self::product::Product;
use self::selection::Selection;
use super::image_places::{
    Reported, address, part, sources, unless_interrupted, unpublished, unread,
};
use super::print_product;
use crate::args::{FormatOption, ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Copy images between registries, layouts and archives
///
/// An index goes with all of its platforms, and with the signatures and attestations that refer to
/// it. Everything keeps its digest. Between registries nothing touches the disk, and what a registry
/// has already, or can take over from another of its repositories, is not sent. Tags move last.
///
/// An address is a name in a registry, store:NAME, oci:PATH[:TAG], oci-archive:FILE[:TAG] or
/// docker-archive:FILE[:NAME]. For each destination, its address and the digest are printed to
/// stdout.
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets are what may be left out"
)]
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln copy staging.example/app:1.4 prod.example/app:1.4\n  kiln copy --all-tags old.example/team/app new.example/team/app\n  kiln copy registry.example/app:1.4 oci-archive:app.tar:1.4\n  kiln copy --platform linux/arm64 debian:12 docker-archive:debian.tar"
)]
pub(crate) struct CopyArguments {
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    source: String,

    /// Where it goes; one of several fails, and no tag is moved in any registry
    #[arg(value_name = "DESTINATION", required = true)]
    destinations: Vec<String>,

    /// Only the image for this platform, such as linux/arm64, and not the index that it is in
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all")]
    platform: Option<String>,

    /// All platforms, as it is the default
    #[arg(long)]
    all: bool,

    /// Copy signatures and attestations too, as it is the default
    #[arg(long, overrides_with = "no_referrers")]
    referrers: bool,

    /// Leave out signatures and attestations that are not part of the index
    #[arg(long, overrides_with = "referrers")]
    no_referrers: bool,

    /// All tags of the source, which is a repository; so are the destinations, or layouts
    #[arg(long)]
    all_tags: bool,

    /// Refuse to move a tag that points at something else
    #[arg(long)]
    immutable: bool,

    /// Say what would be copied, and copy nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for CopyArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn progress(&self) -> ProgressMode {
        self.progress.mode()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        self.progress.check()?;
        let request = self.request()?;
        let threads = settings.processors;
        let product = ports::serve(settings, presentation, threads, async |ports| {
            unless_interrupted(ports, request.run(ports)).await
        })?;
        print_product(&product.shown(self.format.format))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is to be copied, and where to.
struct Request {
    source: Address,
    destinations: Vec<Destination>,
    part: publish::source::Part,
    with_referrers: bool,
    all_tags: bool,
    immutable: bool,
    dry_run: bool,
}

impl CopyArguments {
    fn request(&self) -> Result<Request, ProgramError> {
        let source = address(&self.source)?;
        let mut destinations: Vec<Destination> = Vec::new();
        for text in &self.destinations {
            let destination = Destination::read(text, self.all_tags, &source)?;
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        if self.all_tags {
            selection::check_all_tags(&source, &self.source)?;
        }
        Ok(Request {
            source,
            destinations,
            part: part(self.platform.as_deref())?,
            with_referrers: !self.no_referrers,
            all_tags: self.all_tags,
            immutable: self.immutable,
            dry_run: self.dry_run,
        })
    }
}

impl Request {
    /// Reads, sends, and lets it be seen: registries last, and their tags together.
    async fn run(&self, ports: &Ports) -> Result<Product, ProgramError> {
        let selection = self.select(ports).await?;
        for message in &selection.notes {
            let message = message.clone();
            ports.reporter.report(Event::Warning { message });
        }
        self.check(&selection)?;
        let mut product = Product::new(self, &selection);
        if self.dry_run {
            product.look(self, &selection, ports).await?;
            return Ok(product);
        }
        for destination in &self.destinations {
            destination.write(&selection, ports).await?;
        }
        let publication = self.publication(&selection).await?;
        if !publication.items.is_empty() {
            let watcher = Arc::new(Reported(ports.reporter.clone()));
            let context = Context {
                client: &ports.client,
                store: &ports.store,
                uploads: Uploads::new(ports.client.clone(), watcher.clone()),
                watcher: &*watcher,
            };
            let outcome = publish::publish(&publication, &context)
                .await
                .map_err(|error| unpublished("could not copy the image", error))?;
            product.published(&outcome);
        }
        Ok(product)
    }

    async fn select(&self, ports: &Ports) -> Result<Selection, ProgramError> {
        let sources = sources(ports);
        match self.all_tags {
            true => {
                Selection::all_tags(&self.source, &self.part, self.with_referrers, &sources).await
            }
            false => Selection::one(&self.source, &self.part, self.with_referrers, &sources).await,
        }
    }

    /// Refuses what a destination cannot hold, before anything is sent.
    fn check(&self, selection: &Selection) -> Result<(), ProgramError> {
        self.destinations
            .iter()
            .try_for_each(|destination| destination.check(selection))
    }

    /// All that goes to registries, as one transaction: what is about an image before the image, so
    /// that its tags are there when those of the image move.
    async fn publication(&self, selection: &Selection) -> Result<Publication, ProgramError> {
        let mut publication = Publication::default();
        let mut joined = Vec::new();
        for image in &selection.images {
            let mut of_image = Vec::new();
            for attached in &image.attached {
                let joinable = source::joinable(attached).await;
                if let Some(attachment) = joinable.map_err(|error| unread(&self.source, &error))? {
                    of_image.push(attachment);
                    continue;
                }
                let targets = destination::targets(&self.destinations, |_| {
                    (attached.tag.iter().cloned().collect(), false)
                });
                let name = format!("what is about {}", image.name);
                publication.items.extend(destination::item(
                    name,
                    attached.content.clone(),
                    targets,
                ));
            }
            joined.push(of_image);
        }
        for (image, attachments) in selection.images.iter().zip(joined) {
            let targets = destination::targets(&self.destinations, |reference| {
                let tags = match reference {
                    Some(reference) => reference.tag().iter().copied().cloned().collect(),
                    None => image.tags.clone(),
                };
                (tags, self.immutable)
            });
            let item = destination::item(image.name.clone(), image.content.clone(), targets);
            publication.items.extend(item.map(|item| Item {
                attachments,
                ..item
            }));
        }
        Ok(publication)
    }
}
