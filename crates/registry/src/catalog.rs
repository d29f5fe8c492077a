//! The repositories of a registry (distribution's HTTP API, "Listing Repositories"). The specification
//! leaves it out, and many registries do too, or show it to administrators only.

use std::collections::BTreeSet;

use oci::Repository;
use serde::Deserialize;

use crate::auth::Scope;
use crate::endpoint::for_push;
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::Hosts;
use crate::pages::{Page, Pages};

/// The most repositories of a registry that are listed.
pub const REPOSITORIES_MAX: usize = 100_000;
/// How many are asked for at a time.
const PAGE_REPOSITORIES: usize = 1000;

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// All repositories of the registry that `root` is in, in lexical order.
pub(crate) async fn list(hosts: &Hosts, root: &Repository) -> Result<Vec<Repository>, Error> {
    let operation = Operation::ListRepositories;
    let host = root.registry();
    let endpoint = for_push(&hosts.options.settings, root)
        .map_err(|blocked| error::blocked(&blocked, operation, host))?;
    let exchange = hosts.exchange(&endpoint, operation, host, vec![Scope::catalog()]);
    let mut first = exchange.api_url("_catalog").await?;
    first.set_query(Some(&format!("n={PAGE_REPOSITORIES}")));
    let mut pages = Pages::new(&exchange, first, None);
    let mut repositories = BTreeSet::new();
    while let Some(page) = pages.next().await? {
        let body = match page {
            Page::Whole { body, .. } => body,
            Page::Refused(mut answer) => {
                let status = answer.status().as_u16();
                let error = exchange.refused(&mut answer, None).await;
                return Err(match status {
                    // No such list.
                    404 => exchange
                        .error(ErrorKind::Unsupported)
                        .what("the registry does not list its repositories")
                        .because(error),
                    _ => error,
                });
            }
        };
        let catalog: Catalog = serde_json::from_slice(&body).map_err(|error| {
            exchange
                .error(ErrorKind::Unsupported)
                .what("the answer is no list of repositories")
                .because(error)
        })?;
        // Names that cannot be repositories cannot be asked for either.
        let names = catalog.repositories.unwrap_or_default();
        let whole = names.iter().map(|name| format!("{host}/{name}"));
        repositories.extend(whole.filter_map(|name| name.parse::<Repository>().ok()));
        if repositories.len() > REPOSITORIES_MAX {
            return Err(exchange.error(ErrorKind::TooLarge).what(format!(
                "the registry has more than {REPOSITORIES_MAX} repositories"
            )));
        }
    }
    Ok(repositories.into_iter().collect())
}
