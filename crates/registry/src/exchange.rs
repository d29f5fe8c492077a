//! A request and what it takes to get it answered: an account, a token, a few
//! redirects, some patience.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use tokio::sync::{Mutex, OnceCell, Semaphore};
use tokio::time::Instant;

use crate::auth::{Account, Challenge, Credential, Found, Scope, Token, TokenAnswer, challenges};
use crate::endpoint::{Endpoint, approach};
use crate::error::{Error, ErrorKind, Operation, RegistryMessage};
use crate::error_document::messages;
use crate::options::ClientOptions;
use crate::origin::Origin;
use crate::retry::{Budget, Exhausted, is_transient, retry_after};
use crate::transport::{Answer, Failure, Payload, Request, Transport};

/// The most redirects that are followed for one request (D01).
const REDIRECTS_MAX: usize = 5;
/// The most bytes of a token service's answer (D13).
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// Refusals of fresh tokens without any success in between (R02).
const REFUSALS_MAX: u32 = 2;
/// The most rounds of one request through the token service, whatever happens.
const ROUNDS_MAX: u32 = 12;
/// How often a redirect that has expired is asked for again (R10).
const EXPIRED_MAX: u32 = 2;

/// What is known about the hosts of all registries.
pub(crate) struct Hosts {
    pub(crate) options: Arc<ClientOptions>,
    pub(crate) transport: Transport,
    known: std::sync::Mutex<HashMap<(String, bool), Arc<Host>>>,
}

/// What is known about one host.
pub(crate) struct Host {
    /// `host[:port]`: the name of its account.
    name: String,
    insecure: bool,
    reached: OnceCell<(Origin, reqwest::Client)>,
    permits: Arc<Semaphore>,
    challenge: std::sync::Mutex<Option<Challenge>>,
    /// Tokens by the scopes that they were asked for. The lock is held while a
    /// token is fetched: whoever comes second wants the same one.
    tokens: Mutex<HashMap<String, (Token, Option<Account>)>>,
    /// Held while an index of referrers is read, changed and written (D18).
    pub(crate) referrers_lists: Mutex<()>,
    /// Requests that were let in, to tell a token that wore out from one that
    /// never worked.
    admitted: AtomicU64,
    /// Whether an upload in one request was refused before (R13).
    pub(crate) wants_chunks: AtomicBool,
}

/// One conversation: with whom, as whom, what for.
pub(crate) struct Exchange<'a> {
    hosts: &'a Hosts,
    pub(crate) host: Arc<Host>,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) operation: Operation,
    /// What messages call the thing.
    pub(crate) subject: String,
    scopes: Vec<Scope>,
    /// As whom the last request was made.
    used: std::sync::Mutex<Option<Account>>,
    /// Why that was nobody, although there should be an account.
    excuse: std::sync::Mutex<Option<String>>,
}

/// A request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) deadline: Duration,
}

/// How our proof of identity fares within one operation.
#[derive(Default)]
pub(crate) struct Standing {
    refusals: u32,
    rounds: u32,
    /// A scope that the registry wants beside ours.
    extra_scope: Option<String>,
    /// Whether helpers have been asked anew.
    asked_again: bool,
}

/// What a request was sent with.
pub(crate) struct Proof {
    header: Option<HeaderValue>,
    account: Option<Account>,
    withheld: Option<String>,
    fresh: bool,
    admitted_before: u64,
    key: String,
}

impl Hosts {
    pub(crate) fn new(options: Arc<ClientOptions>) -> Result<Self, Error> {
        let transport = Transport::new(Arc::clone(&options))
            .map_err(|failure| of_failure(failure, Operation::Configure, "registries"))?;
        Ok(Self {
            options,
            transport,
            known: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (endpoint.name.clone(), endpoint.insecure);
        let host = known.entry(slot).or_insert_with(|| {
            Arc::new(Host {
                name: endpoint.name.clone(),
                insecure: endpoint.insecure,
                reached: OnceCell::new(),
                permits: Arc::new(Semaphore::new(self.options.max_concurrency.max(1))),
                challenge: std::sync::Mutex::default(),
                tokens: Mutex::default(),
                referrers_lists: Mutex::default(),
                admitted: AtomicU64::new(0),
                wants_chunks: AtomicBool::new(false),
            })
        });
        Arc::clone(host)
    }

    pub(crate) fn exchange<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        operation: Operation,
        subject: impl std::fmt::Display,
        scopes: Vec<Scope>,
    ) -> Exchange<'a> {
        Exchange {
            hosts: self,
            host: self.host(endpoint),
            endpoint,
            operation,
            subject: subject.to_string(),
            scopes,
            used: std::sync::Mutex::default(),
            excuse: std::sync::Mutex::default(),
        }
    }
}

impl Ask {
    pub(crate) fn new(method: Method, url: Url, deadline: Duration) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline,
        }
    }

    pub(crate) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

impl Exchange<'_> {
    pub(crate) fn timing(&self) -> &crate::Timing {
        &self.hosts.options.timing
    }

    /// The URL of something below `/v2/REPOSITORY/`.
    pub(crate) async fn url(&self, below: &str) -> Result<Url, Error> {
        self.api_url(&format!("{}/{below}", self.endpoint.path))
            .await
    }

    /// The URL of something below `/v2/`.
    pub(crate) async fn api_url(&self, below: &str) -> Result<Url, Error> {
        let (origin, _) = self.reach().await?;
        origin
            .url(&format!("/v2/{below}"))
            .map_err(|error| self.error(ErrorKind::Unsupported).because(error))
    }

    pub(crate) async fn origin(&self) -> Result<&Origin, Error> {
        Ok(&self.reach().await?.0)
    }

    /// Where the host answers, and the client for it. Asked once: only hosts
    /// that are declared insecure leave a choice.
    async fn reach(&self) -> Result<&(Origin, reqwest::Client), Error> {
        self.host
            .reached
            .get_or_try_init(|| async {
                let settings = &self.hosts.options.settings;
                let approach = approach(settings, &self.host.name, self.host.insecure)
                    .map_err(|error| self.error(ErrorKind::Unsupported).because(error))?;
                let mut last = None;
                let choices = approach.origins.len();
                for origin in &approach.origins {
                    let client = self
                        .hosts
                        .transport
                        .client_for(&self.host.name, origin, &approach)
                        .map_err(|failure| self.failed(failure, None))?;
                    if choices == 1 {
                        return Ok((origin.clone(), client));
                    }
                    let url = origin
                        .url("/v2/")
                        .map_err(|error| self.error(ErrorKind::Unsupported).because(error))?;
                    let request = Request {
                        method: Method::GET,
                        url: url.clone(),
                        headers: HeaderMap::new(),
                        payload: Payload::None,
                        deadline: self.timing().headers,
                    };
                    match self.hosts.transport.send(&client, request).await {
                        Ok(_) => return Ok((origin.clone(), client)),
                        Err(failure) => last = Some(self.failed(failure, Some(&url))),
                    }
                }
                Err(last.unwrap_or_else(|| self.error(ErrorKind::Unreachable)))
            })
            .await
    }

    /// Sends a request until it is answered by something that will not change
    /// by itself.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let attempts_max = if self.endpoint.is_mirror {
            // The next place to ask is at hand.
            2
        } else {
            self.timing().attempts_max
        };
        self.send_up_to(ask, attempts_max).await
    }

    pub(crate) async fn send_up_to(&self, ask: &Ask, attempts_max: u32) -> Result<Answer, Error> {
        let mut budget = Budget::with_attempts(self.timing(), attempts_max);
        let mut standing = Standing::default();
        let mut expired = 0;
        loop {
            let (pause, error) = match self.attempt(ask, &mut standing).await? {
                Ok(mut answer) => {
                    let status = answer.status();
                    let is_expired = answer.left_origin
                        && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
                        && expired < EXPIRED_MAX;
                    if is_expired {
                        expired += 1;
                    } else if !is_transient(status) {
                        return Ok(answer);
                    }
                    let pause = retry_after(answer.headers(), self.timing());
                    (pause, self.refused(&mut answer, None).await)
                }
                Err(failure) if failure.is_transient() => {
                    (None, self.failed(failure, Some(&ask.url)))
                }
                Err(failure) => return Err(self.failed(failure, Some(&ask.url))),
            };
            if let Err(why) = budget.failed(pause).await {
                return Err(given_up(error, why, budget.attempts() - 1));
            }
        }
    }

    /// Sends a request once, with as many tokens as it takes.
    async fn attempt(
        &self,
        ask: &Ask,
        standing: &mut Standing,
    ) -> Result<Result<Answer, Failure>, Error> {
        loop {
            let proof = self.proof(standing).await?;
            let mut answer = match self.follow(ask, &proof).await? {
                Ok(answer) => answer,
                Err(failure) => return Ok(Err(failure)),
            };
            if answer.status() != StatusCode::UNAUTHORIZED || answer.left_origin {
                self.admitted(standing);
                return Ok(Ok(answer));
            }
            self.unauthorized(&mut answer, proof, standing).await?;
        }
    }

    /// Sends a request with a body that can be read only once. What a 401
    /// means is for the caller to find out, by [`Self::unauthorized`].
    pub(crate) async fn send_upload(
        &self,
        ask: &Ask,
        upload: crate::body::UploadBody,
        proof: &Proof,
    ) -> Result<Result<Answer, Failure>, Error> {
        let (origin, client) = self.reach().await?;
        let same_origin = Origin::of(&ask.url).as_ref() == Some(origin);
        let foreign;
        let (client, header) = if same_origin {
            (client, proof.header.as_ref())
        } else {
            foreign = self.foreign_client(&ask.url)?;
            (&foreign, None)
        };
        Ok(self
            .once(
                client,
                ask,
                ask.method.clone(),
                &ask.url,
                Payload::Upload(upload),
                header,
            )
            .await
            .map(|mut answer| {
                answer.left_origin = !same_origin;
                answer
            }))
    }

    /// Follows redirects as the origin policy allows.
    async fn follow(&self, ask: &Ask, proof: &Proof) -> Result<Result<Answer, Failure>, Error> {
        let (origin, own_client) = self.reach().await?;
        let mut client = own_client.clone();
        let mut url = ask.url.clone();
        let mut method = ask.method.clone();
        let mut left_origin = Origin::of(&url).as_ref() != Some(origin);
        if left_origin {
            client = self.foreign_client(&url)?;
        }
        let mut visited = vec![url.clone()];
        loop {
            let payload = if ask.body.is_empty() {
                Payload::None
            } else {
                Payload::Bytes(ask.body.clone())
            };
            // Once the origin is left, credentials stay away for good: a
            // redirect back is somebody else's request.
            let header = proof.header.as_ref().filter(|_| !left_origin);
            let sent = self
                .once(&client, ask, method.clone(), &url, payload, header)
                .await;
            let mut answer = match sent {
                Ok(answer) => answer,
                Err(failure) => return Ok(Err(failure)),
            };
            answer.left_origin = left_origin;
            let is_redirect = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return Ok(Ok(answer));
            }
            let Some(location) = answer.header(LOCATION.as_str()) else {
                return Err(self
                    .error(ErrorKind::Protocol)
                    .what("the registry redirects to nowhere")
                    .url(&url)
                    .status(answer.status()));
            };
            let refuse = |what: String| {
                self.error(ErrorKind::Protocol)
                    .what(what)
                    .url(&url)
                    .status(answer.status())
            };
            let next = origin
                .follow(&url, location)
                .map_err(|refusal| refuse(format!("the redirect is not followed: {refusal}")))?;
            let is_read = matches!(method, Method::GET | Method::HEAD);
            if !is_read && (!next.same_origin || answer.status().as_u16() < 307) {
                return Err(refuse(
                    "the registry redirects what is sent, which is not followed".into(),
                ));
            }
            if visited.len() > REDIRECTS_MAX {
                return Err(refuse(format!("more than {REDIRECTS_MAX} redirects")));
            }
            if visited.contains(&next.url) {
                return Err(refuse("the redirects run in a circle".into()));
            }
            if method != Method::HEAD && answer.status() == StatusCode::SEE_OTHER {
                method = Method::GET;
            }
            if !next.same_origin {
                left_origin = true;
                client = self.foreign_client(&next.url)?;
            }
            visited.push(next.url.clone());
            url = next.url;
        }
    }

    fn foreign_client(&self, url: &Url) -> Result<reqwest::Client, Error> {
        self.hosts
            .transport
            .client_for_follow_up(url)
            .map_err(|failure| self.failed(failure, Some(url)))
    }

    async fn once(
        &self,
        client: &reqwest::Client,
        ask: &Ask,
        method: Method,
        url: &Url,
        payload: Payload,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        // The semaphore is never closed; without a permit nothing is bounded,
        // which harms nobody.
        let permit = Arc::clone(&self.host.permits).acquire_owned().await.ok();
        let mut headers = ask.headers.clone();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let request = Request {
            method,
            url: url.clone(),
            headers,
            payload,
            deadline: ask.deadline,
        };
        let mut answer = self.hosts.transport.send(client, request).await?;
        answer.permit = permit;
        Ok(answer)
    }

    /// A request was let in: whatever was refused before does not count.
    pub(crate) fn admitted(&self, standing: &mut Standing) {
        self.host.admitted.fetch_add(1, Ordering::Relaxed);
        standing.refusals = 0;
        standing.rounds = 0;
    }

    /// What to send along, as far as it is known what the host wants.
    pub(crate) async fn proof(&self, standing: &Standing) -> Result<Proof, Error> {
        let proof = self.make_proof(standing).await?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.clone_from(&proof.account);
        drop(used);
        Ok(proof)
    }

    async fn make_proof(&self, standing: &Standing) -> Result<Proof, Error> {
        let mut scopes: Vec<String> = self.scopes.iter().map(Scope::to_string).collect();
        scopes.extend(standing.extra_scope.clone());
        let mut proof = Proof {
            header: None,
            account: None,
            withheld: None,
            fresh: false,
            admitted_before: self.host.admitted.load(Ordering::Relaxed),
            key: scopes.join(" "),
        };
        let challenge = self
            .host
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(challenge) = challenge else {
            return Ok(proof);
        };
        let ask_again = standing.asked_again;
        match challenge {
            Challenge::Basic => {
                let found = self.account(ask_again).await?;
                if let Some((credential, account)) = found {
                    proof.header = Some(self.basic(&credential, &account)?);
                    proof.account = Some(account);
                    proof.fresh = true;
                }
            }
            Challenge::Bearer { realm, service, .. } => {
                let mut tokens = self.host.tokens.lock().await;
                if let Some((token, account)) = tokens.get(&proof.key)
                    && token.is_good()
                {
                    proof.header = Some(self.bearer(token.secret.expose())?);
                    proof.account = account.clone();
                    return Ok(proof);
                }
                proof.fresh = true;
                let found = self.account(ask_again).await?;
                if let Some((Credential::RegistryToken(token), account)) = &found {
                    proof.header = Some(self.bearer(token.expose())?);
                    proof.account = Some(account.clone());
                    return Ok(proof);
                }
                let service = service.as_deref();
                let asked = self.token(&realm, service, &scopes, found.clone()).await;
                let (token, account, withheld) = match asked {
                    // What a helper said some minutes ago may have ended: it is asked once more.
                    Err(error) if *error.kind() == ErrorKind::Unauthorized && !ask_again => {
                        match self.account(true).await? {
                            Some(fresh) if found.as_ref().is_some_and(|old| old.0 != fresh.0) => {
                                self.token(&realm, service, &scopes, Some(fresh)).await?
                            }
                            _ => return Err(error),
                        }
                    }
                    asked => asked?,
                };
                proof.header = Some(self.bearer(token.secret.expose())?);
                proof.account = account.clone();
                proof.withheld = withheld;
                proof.admitted_before = self.host.admitted.load(Ordering::Relaxed);
                tokens.insert(proof.key.clone(), (token, account));
            }
        }
        Ok(proof)
    }

    /// Takes in a 401: another round, or an error that says whose account was
    /// refused.
    pub(crate) async fn unauthorized(
        &self,
        answer: &mut Answer,
        proof: Proof,
        standing: &mut Standing,
    ) -> Result<(), Error> {
        let offered = challenges(answer.headers());
        let chosen = offered
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer { .. }))
            .or(offered.first())
            .cloned();
        let Some(chosen) = chosen else {
            return Err(self
                .refused(answer, proof.account.as_ref())
                .await
                .hint("the registry does not say how to log in"));
        };
        let wanted_scope = match &chosen {
            Challenge::Bearer { scope, .. } => scope.clone(),
            Challenge::Basic => None,
        };
        *self
            .host
            .challenge
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(chosen.clone());
        standing.rounds += 1;
        if proof.header.is_some() {
            self.host.tokens.lock().await.remove(&proof.key);
            // A token that somebody else used up in the meantime was no refusal.
            let progress = self.host.admitted.load(Ordering::Relaxed) > proof.admitted_before;
            if proof.fresh && !progress {
                standing.refusals += 1;
            }
        }
        let no_account = proof.header.is_none()
            && chosen == Challenge::Basic
            && self.account(standing.asked_again).await?.is_none();
        if no_account || standing.refusals >= REFUSALS_MAX || standing.rounds >= ROUNDS_MAX {
            let mut error = self.refused(answer, proof.account.as_ref()).await;
            if proof.account.is_some() && !proof.key.is_empty() {
                error = error.what(format!(
                    "the registry does not accept the credentials for {}",
                    proof.key
                ));
            }
            return Err(match (&proof.account, proof.withheld) {
                (_, Some(withheld)) => error.hint(withheld),
                (None, None) => error.or_hint(format!(
                    "no account for `{}` was found in config.json or auth.json: log in to it",
                    self.host.name
                )),
                (Some(_), None) => error,
            });
        }
        if standing.refusals > 0 {
            standing.asked_again = true;
            standing.extra_scope = wanted_scope.filter(|scope| self.is_modest(scope));
        }
        Ok(())
    }

    /// Whether a scope that the registry asks for is no more than what this
    /// operation needs (D20).
    fn is_modest(&self, scope: &str) -> bool {
        const SCOPE_BYTES_MAX: usize = 1024;
        let pushes = self.scopes.iter().any(Scope::is_push);
        scope.len() <= SCOPE_BYTES_MAX
            && !self.scopes.iter().any(|known| known.to_string() == scope)
            && scope.split(' ').all(|one| {
                one.starts_with("repository:")
                    && one.rsplit_once(':').is_some_and(|(_, actions)| {
                        actions
                            .split(',')
                            .all(|action| action == "pull" || (pushes && action == "push"))
                    })
            })
    }

    async fn account(&self, ask_again: bool) -> Result<Found, Error> {
        self.hosts
            .options
            .credentials
            .find(&self.host.name, &self.endpoint.path, ask_again)
            .await
            .or_else(|error| {
                // What anybody may pull needs no account; where it is refused, this is why.
                let pulls = !self.scopes.is_empty() && self.scopes.iter().all(Scope::is_pull);
                if let Some(excuse) = error.excuse().filter(|_| pulls) {
                    let mut known = self.excuse.lock().unwrap_or_else(PoisonError::into_inner);
                    *known = Some(excuse);
                    return Ok(None);
                }
                let advice = error.advice();
                let error = self.error(ErrorKind::Credentials).because(error);
                Err(match advice {
                    Some(advice) => error.hint(advice),
                    None => error,
                })
            })
    }

    fn basic(&self, credential: &Credential, account: &Account) -> Result<HeaderValue, Error> {
        match credential {
            Credential::Password { username, password } => {
                Ok(basic_header(username, password.expose()))
            }
            Credential::IdentityToken(_) => Err(self
                .error(ErrorKind::Unsupported)
                .account(account)
                .what("the registry wants a password, and the account has an identity token")),
            Credential::RegistryToken(token) => self.bearer(token.expose()),
        }
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            self.error(ErrorKind::Credentials)
                .what("the token holds control characters")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Asks the token service. Returns the token, the account that was shown,
    /// and why none was.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        found: Found,
    ) -> Result<(Token, Option<Account>, Option<String>), Error> {
        let (origin, own_client) = self.reach().await?;
        let allowed = self
            .hosts
            .options
            .settings
            .token_services
            .get(&self.host.name);
        let (mut url, trusted) = origin
            .realm(realm, allowed.map_or(&[], Vec::as_slice))
            .map_err(|refusal| {
                self.error(ErrorKind::Protocol).what(format!(
                    "the token service it names is not asked: {refusal}"
                ))
            })?;
        let realm_origin = Origin::of(&url);
        let withheld = match (&realm_origin, &found) {
            (Some(service), Some(_)) if !trusted => Some(format!(
                "the registry sends clients to the token service {service}, which is not of its own domain; no password was sent there. Name it in the token services of the registry if it is right"
            )),
            _ => None,
        };
        let found = found.filter(|_| trusted);
        let client = if realm_origin.as_ref() == Some(origin) {
            own_client.clone()
        } else {
            self.foreign_client(&url)?
        };
        let mut ask = Ask::new(Method::GET, url.clone(), self.timing().headers);
        let account = found.as_ref().map(|(_, account)| account.clone());
        match found {
            Some((Credential::IdentityToken(token), _)) => {
                // A URL's query has the encoding of a form.
                let mut form = url.clone();
                form.set_query(None);
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "kiln")
                    .append_pair("service", service.unwrap_or(""))
                    .append_pair("refresh_token", token.expose())
                    .append_pair("scope", &scopes.join(" "));
                ask.method = Method::POST;
                ask.body = form.query().unwrap_or("").to_owned().into();
                ask = ask.header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                );
            }
            other => {
                {
                    let mut query = url.query_pairs_mut();
                    if let Some(service) = service {
                        query.append_pair("service", service);
                    }
                    for scope in scopes {
                        query.append_pair("scope", scope);
                    }
                }
                ask.url = url.clone();
                if let Some((Credential::Password { username, password }, _)) = &other {
                    let header = basic_header(username, password.expose());
                    ask = ask.header(AUTHORIZATION, header);
                }
            }
        }
        let mut budget = Budget::new(self.timing());
        loop {
            let asked = Instant::now();
            let payload = if ask.body.is_empty() {
                Payload::None
            } else {
                Payload::Bytes(ask.body.clone())
            };
            // Redirects are not followed here: a form with a secret in it is
            // not to be carried on.
            let sent = self
                .once(&client, &ask, ask.method.clone(), &ask.url, payload, None)
                .await;
            let (pause, error) = match sent {
                Ok(mut answer) if answer.status().is_success() => {
                    let token = self.read_token(&mut answer, asked).await?;
                    return Ok((token, account, withheld));
                }
                Ok(mut answer) => {
                    let pause = retry_after(answer.headers(), self.timing());
                    let status = answer.status();
                    let mut error = self.refused(&mut answer, account.as_ref()).await;
                    if let Some(withheld) = &withheld {
                        error = error.hint(withheld);
                    }
                    if status == StatusCode::UNAUTHORIZED && account.is_some() && !scopes.is_empty()
                    {
                        error = error.what(format!(
                            "the registry does not accept the credentials for {}",
                            scopes.join(" ")
                        ));
                    }
                    let error = error.during(Operation::Authenticate);
                    if !is_transient(status) {
                        return Err(error);
                    }
                    (pause, error)
                }
                Err(failure) => {
                    let transient = failure.is_transient();
                    let error = self
                        .failed(failure, Some(&ask.url))
                        .during(Operation::Authenticate);
                    if !transient {
                        return Err(error);
                    }
                    (None, error)
                }
            };
            if let Err(why) = budget.failed(pause).await {
                return Err(given_up(error, why, budget.attempts() - 1));
            }
        }
    }

    async fn read_token(&self, answer: &mut Answer, asked: Instant) -> Result<Token, Error> {
        let fail = |what: String| {
            self.error(ErrorKind::Protocol)
                .what(what)
                .during(Operation::Authenticate)
        };
        let bytes = answer
            .bytes(TOKEN_BYTES_MAX)
            .await
            .map_err(|failure| self.failed(failure, None).during(Operation::Authenticate))?
            .ok_or_else(|| {
                fail(format!(
                    "the answer of the token service is larger than {TOKEN_BYTES_MAX} bytes"
                ))
            })?;
        // The parser's own message could quote the token.
        let parsed: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| fail("the answer of the token service is not JSON".into()))?;
        parsed
            .token(asked)
            .map_err(|reason| fail(format!("the answer of the token service: {reason}")))
    }

    /// An error about this conversation.
    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.operation, &self.subject)
    }

    /// An error for an answer that is no success.
    pub(crate) async fn refused(&self, answer: &mut Answer, account: Option<&Account>) -> Error {
        let status = answer.status();
        let pause = retry_after(answer.headers(), self.timing());
        let messages = messages(&answer.error_document().await);
        let code = |code: &str| messages.iter().any(|message| message.code == code);
        let kind = match status.as_u16() {
            _ if code("MANIFEST_BLOB_UNKNOWN") => ErrorKind::BlobUnknown {
                digest: messages.iter().find_map(|message| message.digest.clone()),
            },
            400..=499
                if self.operation == Operation::PushManifest
                    && messages.iter().any(RegistryMessage::is_about_immutability) =>
            {
                ErrorKind::TagImmutable
            }
            _ if code("DIGEST_INVALID") || code("SIZE_INVALID") => ErrorKind::Corrupted,
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::RateLimited { retry_after: pause },
            405 | 501 => ErrorKind::Unsupported,
            500.. => ErrorKind::Server,
            _ => ErrorKind::Refused,
        };
        let is_denied = kind == ErrorKind::Denied;
        let mut error = self
            .error(kind)
            .status(status)
            .url(answer.url())
            .messages(messages);
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let account = account.or(used.as_ref());
        let excuse = self.excuse.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(excuse) = excuse.as_ref().filter(|_| status.is_client_error()) {
            error = error.hint(excuse.as_str());
        }
        if let Some(scope) = self.scopes.last().filter(|_| is_denied) {
            error = error.what(scope.denied(account.is_some()));
        }
        if let Some(account) = account {
            error = error.account(account);
        }
        error
    }

    /// An error for an answer that did not come.
    pub(crate) fn failed(&self, failure: Failure, url: Option<&Url>) -> Error {
        let error = of_failure(failure, self.operation, &self.subject);
        match url {
            Some(url) => error.url(url),
            None => error,
        }
    }
}

/// The last error of a series, and why there is no further attempt.
pub(crate) fn given_up(error: Error, why: Exhausted, attempts: u32) -> Error {
    let error = error.attempts(attempts);
    match why {
        Exhausted::Attempts => error,
        Exhausted::Pause(_) => error.hint(
            "this pause is longer than kiln waits: try again later, log in for a higher limit, or \
             configure a mirror",
        ),
    }
}

pub(crate) fn of_failure(failure: Failure, operation: Operation, subject: &str) -> Error {
    let mut error = Error::new(failure.kind, operation, subject);
    if let Some(what) = failure.what {
        error = error.what(what);
    }
    if let Some(hint) = failure.hint {
        error = error.hint(hint);
    }
    if let Some(source) = failure.source {
        error = error.because(source);
    }
    error
}

fn basic_header(username: &str, password: &str) -> HeaderValue {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {text}"))
        .expect("base64 consists of visible characters");
    value.set_sensitive(true);
    value
}
