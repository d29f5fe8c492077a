//! Deleting manifests and tags (distribution specification, "Content Management").

use http::Method;
use oci::{Digest, Repository, Tag};

use crate::auth::Scope;
use crate::endpoint::for_push;
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Hosts};

pub(crate) async fn manifest(
    hosts: &Hosts,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), Error> {
    let subject = format!("{repository}@{digest}");
    send(hosts, repository, digest.as_str(), &subject).await
}

pub(crate) async fn tag(hosts: &Hosts, repository: &Repository, tag: &Tag) -> Result<(), Error> {
    let subject = format!("{repository}:{tag}");
    send(hosts, repository, tag.as_str(), &subject).await
}

async fn send(
    hosts: &Hosts,
    repository: &Repository,
    selector: &str,
    subject: &str,
) -> Result<(), Error> {
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, Operation::Delete, subject))?;
    let scope = Scope::delete(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, Operation::Delete, subject, vec![scope]);
    let url = exchange.url(&format!("manifests/{selector}")).await?;
    let ask = Ask::new(Method::DELETE, url, exchange.timing().finish);
    let mut answer = exchange.send(&ask).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    let error = exchange.refused(&mut answer, None).await;
    Err(match error.kind() {
        // What cannot be deleted by its tag may be deletable by its digest.
        ErrorKind::Unsupported => error.hint(
            "the registry does not delete, or not by tag: switch deleting on in its configuration, or use its own clean-up rules",
        ),
        _ => error,
    })
}
