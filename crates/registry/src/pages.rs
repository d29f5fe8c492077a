//! Lists that come in pages: `Link: <…>; rel="next"` (RFC 8288, distribution specification,
//! "Listing Tags").

use std::collections::HashSet;

use bytes::Bytes;
use http::Method;
use http::header::LINK;
use reqwest::Url;

use crate::error::{Error, ErrorKind};
use crate::exchange::{Ask, Exchange, given_up};
use crate::retry::Budget;
use crate::transport::Answer;

/// The largest page, in bytes (D13).
const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most pages of a list (D04).
const PAGES_MAX: usize = 1000;

/// A page that was asked for.
pub(crate) enum Page {
    /// It is there.
    Whole {
        body: Bytes,
        content_type: String,
        next: Option<Url>,
    },
    /// The registry answered something else.
    Refused(Box<Answer>),
}

/// The pages of one list.
pub(crate) struct Pages<'a> {
    exchange: &'a Exchange<'a>,
    accept: Option<http::HeaderValue>,
    next: Option<Url>,
    visited: HashSet<String>,
}

impl<'a> Pages<'a> {
    /// The pages from `first` on.
    pub(crate) fn new(
        exchange: &'a Exchange<'a>,
        first: Url,
        accept: Option<http::HeaderValue>,
    ) -> Self {
        Self {
            exchange,
            accept,
            next: Some(first),
            visited: HashSet::new(),
        }
    }

    /// The next page, if there is one.
    pub(crate) async fn next(&mut self) -> Result<Option<Page>, Error> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        if !self.visited.insert(url.as_str().to_owned()) {
            return Err(self.wrong("the pages of the list run in a circle", &url));
        }
        if self.visited.len() > PAGES_MAX {
            return Err(self
                .exchange
                .error(ErrorKind::TooLarge)
                .what(format!("the list has more than {PAGES_MAX} pages"))
                .url(&url));
        }
        let page = self.fetch(&url).await?;
        if let Page::Whole { next, .. } = &page {
            self.next.clone_from(next);
        }
        Ok(Some(page))
    }

    /// Fetches a page; again when it was cut off on the way.
    async fn fetch(&self, url: &Url) -> Result<Page, Error> {
        let exchange = self.exchange;
        let mut ask = Ask::new(Method::GET, url.clone(), exchange.timing().headers);
        if let Some(accept) = &self.accept {
            ask = ask.header(http::header::ACCEPT, accept.clone());
        }
        let mut budget = Budget::new(exchange.timing());
        loop {
            let mut answer = exchange.send(&ask).await?;
            if answer.status() != http::StatusCode::OK {
                return Ok(Page::Refused(Box::new(answer)));
            }
            let content_type = (answer.header(http::header::CONTENT_TYPE.as_str()))
                .unwrap_or("")
                .to_owned();
            let next = self.link(&answer, url).await?;
            match answer.bytes(PAGE_BYTES_MAX).await {
                Ok(Some(body)) => {
                    return Ok(Page::Whole {
                        body,
                        content_type,
                        next,
                    });
                }
                Ok(None) => {
                    return Err(exchange
                        .error(ErrorKind::TooLarge)
                        .what(format!(
                            "a page of the list has more than {PAGE_BYTES_MAX} bytes"
                        ))
                        .url(url));
                }
                Err(failure) => {
                    let error = exchange.failed(failure, Some(url));
                    drop(answer);
                    if let Err(why) = budget.failed(None).await {
                        return Err(given_up(error, why, budget.attempts() - 1));
                    }
                }
            }
        }
    }

    /// Where the next page is. Only the registry itself is asked for it: our token goes along.
    async fn link(&self, answer: &Answer, url: &Url) -> Result<Option<Url>, Error> {
        let Some(target) = answer.header(LINK.as_str()).and_then(next_target) else {
            return Ok(None);
        };
        let follow_up = self
            .exchange
            .origin()
            .await?
            .follow(url, target)
            .map_err(|refusal| {
                self.wrong(
                    &format!("the next page of the list is not fetched: {refusal}"),
                    url,
                )
            })?;
        if !follow_up.same_origin || answer.left_origin {
            return Err(self.wrong(
                "the next page of the list is on another host, which is not asked",
                url,
            ));
        }
        Ok(Some(follow_up.url))
    }

    fn wrong(&self, what: &str, url: &Url) -> Error {
        self.exchange.error(ErrorKind::Protocol).what(what).url(url)
    }
}

/// The target of the link whose relation is `next`.
fn next_target(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let is_next = parameters[..end].split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if is_next {
            return Some(target.trim());
        }
        rest = parameters;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let cases = [
            (
                "</v2/a/tags/list?n=1&last=b>; rel=\"next\"",
                Some("/v2/a/tags/list?n=1&last=b"),
            ),
            ("</x>;rel=next", Some("/x")),
            ("</p>; rel=\"prev\", </n>; rel=\"next\"", Some("/n")),
            ("</n>; REL=\"Next\", </p>; rel=\"prev\"", Some("/n")),
            ("</p>; rel=\"prev\"", None),
            ("</x>", None),
            ("</x", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(next_target(header), expected, "{header}");
        }
    }
}
