//! Who we are to a registry, and what we may do there: asked without changing anything.

use http::{Method, StatusCode};
use oci::{Reference, Repository};

use crate::Lookup;
use crate::auth::Scope;
use crate::endpoint::{Endpoint, for_push};
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts};

/// What a registry lets us do.
#[derive(Debug)]
pub enum Access {
    /// It may be done.
    Allowed,
    /// It may, and there is nothing of that name yet; or it may not, and the registry does not say
    /// that there is anything.
    Missing,
    /// It may not be done.
    Refused(Box<Error>),
}

/// The account for a repository.
pub(crate) async fn account(hosts: &Hosts, repository: &Repository) -> Result<Lookup, Error> {
    let endpoint = endpoint(hosts, repository)?;
    let credentials = &hosts.options.credentials;
    let found = credentials
        .look_up(&endpoint.name, &endpoint.path, false)
        .await;
    found.map_err(|error| {
        let advice = error.advice();
        let error =
            Error::new(ErrorKind::Credentials, Operation::CheckAccess, repository).because(error);
        match advice {
            Some(advice) => error.hint(advice),
            None => error,
        }
    })
}

/// Shows our account to a registry.
pub(crate) async fn check_login(hosts: &Hosts, host: &str) -> Result<(), Error> {
    let insecure = hosts
        .options
        .settings
        .rule_for(host)
        .is_some_and(|rule| rule.insecure);
    let endpoint = Endpoint {
        name: host.to_owned(),
        path: String::new(),
        insecure,
        is_mirror: false,
    };
    let exchange = hosts.exchange(&endpoint, Operation::CheckAccess, host, Vec::new());
    let url = exchange
        .origin()
        .await?
        .url("/v2/")
        .map_err(|error| exchange.error(ErrorKind::Unsupported).because(error))?;
    let ask = Ask::new(Method::GET, url, exchange.timing().headers);
    let mut answer = exchange.send(&ask).await?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        // Some registries answer so to who may not do everything; he is let in all the same.
        StatusCode::NOT_FOUND => Err(exchange
            .error(ErrorKind::Protocol)
            .what("no registry answers there")
            .status(answer.status())
            .url(answer.url())),
        _ => Err(exchange.refused(&mut answer, None).await),
    }
}

/// Asks for a manifest without fetching it.
pub(crate) async fn may_pull(hosts: &Hosts, reference: &Reference) -> Result<Access, Error> {
    let repository = reference.repository();
    let endpoint = endpoint(hosts, repository)?;
    let scopes = vec![Scope::pull(&endpoint.path)];
    let exchange = hosts.exchange(&endpoint, Operation::CheckAccess, repository, scopes);
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    };
    let url = exchange.url(&format!("manifests/{name}")).await?;
    let ask = Ask::new(Method::HEAD, url, exchange.timing().headers);
    outcome(&exchange, &ask, StatusCode::is_success).await
}

/// Opens an upload and cancels it.
pub(crate) async fn may_push(hosts: &Hosts, repository: &Repository) -> Result<Access, Error> {
    let endpoint = endpoint(hosts, repository)?;
    let scopes = vec![Scope::push(&endpoint.path)];
    let exchange = hosts.exchange(&endpoint, Operation::CheckAccess, repository, scopes);
    let url = exchange.url("blobs/uploads/").await?;
    let ask = Ask::new(Method::POST, url, exchange.timing().headers);
    outcome(&exchange, &ask, |status| *status == StatusCode::ACCEPTED).await
}

/// The `Date` of an answer to a request that changes nothing.
pub(crate) async fn date(hosts: &Hosts, repository: &Repository) -> Result<Option<String>, Error> {
    let endpoint = endpoint(hosts, repository)?;
    let scopes = vec![Scope::pull(&endpoint.path)];
    let exchange = hosts.exchange(&endpoint, Operation::CheckAccess, repository, scopes);
    let origin = exchange.origin().await?;
    let url = origin
        .url("/v2/")
        .map_err(|error| exchange.error(ErrorKind::Unsupported).because(error))?;
    let ask = Ask::new(Method::GET, url, exchange.timing().headers);
    let answer = exchange.send(&ask).await?;
    Ok(answer.header("date").map(str::to_owned))
}

async fn outcome(
    exchange: &Exchange<'_>,
    ask: &Ask,
    is_allowed: impl Fn(&StatusCode) -> bool,
) -> Result<Access, Error> {
    let mut answer = match exchange.send(ask).await {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Denied) => {
            return Ok(Access::Refused(Box::new(error)));
        }
        Err(error) => return Err(error),
    };
    if is_allowed(&answer.status()) {
        if ask.method == Method::POST {
            let session = crate::upload::location(exchange, &answer).await;
            if let Ok(session) = session {
                crate::upload::cancel(exchange, session).await;
            }
        }
        return Ok(Access::Allowed);
    }
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(Access::Missing);
    }
    let error = exchange.refused(&mut answer, None).await;
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Denied => Ok(Access::Refused(Box::new(error))),
        _ => Err(error),
    }
}

fn endpoint(hosts: &Hosts, repository: &Repository) -> Result<Endpoint, Error> {
    for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, Operation::CheckAccess, repository))
}
