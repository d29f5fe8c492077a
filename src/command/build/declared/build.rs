//! Builds what a project declares, into the store.

use engine::{BuildError, BuiltImage, ImageName, Ports, SetReport};
use oci::{Descriptor, Digest, Platform};

use super::{DeclaredSet, Member};

/// What was built.
#[derive(Clone)]
pub(crate) struct BuiltSet {
    /// What was asked for, in the order of [`DeclaredSet::members`].
    pub(crate) members: Vec<BuiltMember>,
    /// What it took, for all images, those included that others only needed.
    pub(crate) report: SetReport,
}

/// One image in one variant, built.
#[derive(Clone)]
pub(crate) struct BuiltMember {
    /// Which.
    pub(crate) member: Member,
    /// Its manifest or index.
    pub(crate) root: Descriptor,
    /// What it runs on.
    pub(crate) platforms: Vec<Platform>,
    /// Itself, to be published. Its blobs must be asked for on the runtime of the build.
    pub(crate) content: publish::Content,
    /// What it was made from: equal where the same is built again.
    pub(crate) input: Digest,
}

/// Builds all images of a set.
pub(crate) async fn build(set: &DeclaredSet, ports: &Ports) -> Result<BuiltSet, BuildError> {
    let report = engine::build_set(&set.request, ports).await?;
    let mut members = Vec::new();
    for member in &set.members {
        let name = member.to_string();
        let built = report.images.iter().find(|image| image.name == name);
        let built = built.ok_or_else(|| BuildError::input(format!("{name} was not built")))?;
        members.push(built_member(member, built, ports).await?);
    }
    Ok(BuiltSet { members, report })
}

async fn built_member(
    member: &Member,
    built: &BuiltImage,
    ports: &Ports,
) -> Result<BuiltMember, BuildError> {
    let name = ImageName::Digest(built.manifest.digest.clone());
    let platforms = built.images.iter().map(|image| image.platform.clone());
    Ok(BuiltMember {
        member: member.clone(),
        root: built.manifest.clone(),
        platforms: platforms.collect(),
        content: engine::content(&name, ports).await?,
        input: built.input.clone(),
    })
}
