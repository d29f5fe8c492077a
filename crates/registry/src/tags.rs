//! The tags of a repository (distribution specification, "Listing Tags").

use std::collections::HashSet;

use oci::{Repository, Tag};
use serde::Deserialize;

use crate::auth::Scope;
use crate::endpoint::for_push;
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::Hosts;
use crate::pages::{Page, Pages};

/// The most tags of a repository that are listed.
pub const TAGS_MAX: usize = 100_000;
/// How many tags are asked for at a time: what registries commonly allow.
const PAGE_TAGS: usize = 1000;

#[derive(Deserialize)]
struct TagList {
    /// `null` where there are none, in several registries.
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// All tags of a repository.
pub(crate) async fn list(hosts: &Hosts, repository: &Repository) -> Result<Vec<Tag>, Error> {
    let operation = Operation::ListTags;
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, operation, repository))?;
    let scope = Scope::pull(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, operation, repository, vec![scope]);
    let plain = exchange.url("tags/list").await?;
    let mut sized = plain.clone();
    sized.set_query(Some(&format!("n={PAGE_TAGS}")));
    let mut pages = Pages::new(&exchange, sized, None);
    let mut may_ask_plainly = true;
    let mut tags = Vec::new();
    let mut seen = HashSet::new();
    while let Some(page) = pages.next().await? {
        let body = match page {
            Page::Whole { body, .. } => body,
            // Some registries find a thousand too many.
            Page::Refused(answer) if answer.status().as_u16() == 400 && may_ask_plainly => {
                may_ask_plainly = false;
                pages = Pages::new(&exchange, plain.clone(), None);
                continue;
            }
            Page::Refused(mut answer) => return Err(exchange.refused(&mut answer, None).await),
        };
        may_ask_plainly = false;
        let list: TagList = serde_json::from_slice(&body).map_err(|error| {
            exchange
                .error(ErrorKind::Protocol)
                .what("the answer is no list of tags")
                .because(error)
        })?;
        // Names that cannot be tags cannot be asked for either.
        let found = list.tags.unwrap_or_default();
        let valid = found.iter().filter_map(|name| name.parse::<Tag>().ok());
        tags.extend(valid.filter(|tag| seen.insert(tag.clone())));
        if tags.len() > TAGS_MAX {
            return Err(exchange
                .error(ErrorKind::TooLarge)
                .what(format!("the repository has more than {TAGS_MAX} tags")));
        }
    }
    Ok(tags)
}
