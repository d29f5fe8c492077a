//! Where an image goes. The kinds of destination stand side by side and do not
//! know each other.

pub(crate) mod registry;

use oci::{Digest, MediaType};
use store::{DiskError, Store};

use crate::assemble::Image;
use crate::build::Ports;
use crate::error::BuildError;
use crate::layers::Layers;
use crate::report::{OutputReport, Traffic};
use crate::request::{BuildRequest, Output};
use registry::{PublishError, Uploads};

/// What became of an image.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    pub outputs: Vec<OutputReport>,
    pub traffic: Traffic,
}

/// Puts the documents of an image into the store, so that it can be sent later.
pub(crate) fn keep(store: &Store, image: &Image) -> Result<Digest, DiskError> {
    store.blobs().put(image.config.bytes())?;
    store.blobs().put(image.manifest.bytes())
}

/// Brings an image where it is to go: files first, tags in registries last.
pub(crate) async fn export(
    request: &BuildRequest,
    ports: &Ports,
    image: &Image,
    layers: &Layers,
    uploads: Option<Uploads>,
) -> Result<Exported, BuildError> {
    let _ = layers;
    let mut exported = Exported::default();
    for output in &request.outputs {
        match output {
            Output::Registry => {}
            Output::Image => {
                for tag in &request.tags {
                    ports.store.images().set(
                        &tag.to_string(),
                        &image.manifest.descriptor(MediaType::OciManifest),
                    );
                    exported.outputs.push(OutputReport::Stored {
                        reference: tag.clone(),
                    });
                }
            }
            Output::Oci { .. }
            | Output::Docker { .. }
            | Output::Tar { .. }
            | Output::Local { .. }
            | Output::Load => {
                return Err(BuildError::input("kiln does not support this output yet"));
            }
        }
    }
    if let Some(uploads) = uploads {
        let (outputs, traffic) = uploads
            .publish(image, &request.tags)
            .await
            .map_err(unpublished)?;
        exported.outputs.extend(outputs);
        exported.traffic = traffic;
    }
    Ok(exported)
}

fn unpublished(error: PublishError) -> BuildError {
    let hint = match &error {
        PublishError::Blob { source, .. } | PublishError::Manifest { source, .. } => {
            source.advice()
        }
        PublishError::Lost(_) => {
            Some("build the image again, with --no-cache if need be".to_owned())
        }
    };
    BuildError::Failed {
        message: "could not publish the image".to_owned(),
        hint,
        source: Some(error.into()),
    }
}
