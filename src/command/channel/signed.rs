//! The rule `signed`: whether the images that a channel gets are signed by somebody whom `verify` of
//! `kiln.yaml` believes. That something is attached says nothing: anybody may attach anything (E09).

use jiff::Timestamp;
use oci::Repository;
use policy::{ChannelName, Signatures};
use publish::channel::ChannelImage;
use registry::Client;

use super::appearance::image_name;
use super::fleet;
use super::ground::Ground;
use super::rollback::own_repository;
use crate::command::verify::trusted_by;
use crate::error::ProgramError;
use crate::settings::Settings;
use crate::signing::Signer;
use crate::verification::{Trusted, verify};

/// Where signatures are.
pub(super) enum Signed<'w> {
    /// Beside these images of this channel.
    There(&'w ChannelName, &'w [ChannelImage]),
    /// These signers are going to make them, for images of these names.
    Soon(&'w [Signer], Vec<String>),
}

impl Signed<'_> {
    /// Which images have no signature that counts.
    pub(super) async fn look(
        &self,
        ground: &Ground,
        client: &Client,
        settings: &Settings,
    ) -> Result<Signatures, ProgramError> {
        let trusted = match &ground.loaded {
            Some(loaded) => trusted_by(loaded, settings)?,
            None => Trusted::default(),
        };
        if trusted.is_nobody() {
            return Ok(Signatures::NobodyTrusted);
        }
        let unsigned = match self {
            Self::There(channel, images) => {
                let answers = fleet::ask(images.iter().collect(), async |image| {
                    let repository = own_repository(ground, channel, image)?;
                    let counts = is_signed(client, &repository, image, &trusted).await?;
                    let name = image_name(&image.name, &image.variant);
                    Ok::<_, ProgramError>((!counts).then_some(name))
                });
                let answers = answers.await.into_iter();
                let names: Vec<Option<String>> = answers.collect::<Result<_, _>>()?;
                names.into_iter().flatten().collect()
            }
            Self::Soon(signers, names) => match will_count(signers, &trusted) {
                true => Vec::new(),
                false => names.clone(),
            },
        };
        Ok(Signatures::Checked { unsigned })
    }
}

/// Whether an image has the signatures that are asked for.
pub(super) async fn is_signed(
    client: &Client,
    repository: &Repository,
    image: &ChannelImage,
    trusted: &Trusted,
) -> Result<bool, ProgramError> {
    let reference = repository.at_digest(image.digest.clone());
    let document = client.manifest(&reference).await.map_err(|error| {
        let name = image_name(&image.name, &image.variant);
        ProgramError::registry(format!("{name} cannot be read: {reference}"), &error)
    })?;
    // Made from the bytes, not from what the registry says of them.
    let subject = document.descriptor();
    let verdict = verify(client, repository, &subject, trusted, Timestamp::now()).await?;
    Ok(verdict.is_verified())
}

/// Whether what these signers make is all that is asked for.
fn will_count(signers: &[Signer], trusted: &Trusted) -> bool {
    let now = Timestamp::now();
    let of_notary = |trust| signers.iter().any(|signer| signer.satisfies(trust, now));
    let has_key = || {
        signers
            .iter()
            .any(|signer| signer.has_key_of(&trusted.keys))
    };
    trusted.notary.as_ref().is_none_or(of_notary) && (trusted.keys.is_empty() || has_key())
}
