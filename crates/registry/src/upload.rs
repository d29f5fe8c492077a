//! Blobs as they go out: look, mount, send, look again (distribution
//! specification, "Pushing blobs").

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method, StatusCode};
use oci::{Descriptor, Repository};
use reqwest::Url;

use crate::Progress;
use crate::auth::Scope;
use crate::body::UploadBody;
use crate::endpoint::for_push;
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts, Standing, given_up};
use crate::manifest::digest_of;
use crate::retry::{Budget, is_transient, retry_after};
use crate::transport::Answer;

/// The most repositories that are tried as the source of a mount.
const MOUNTS_MAX: usize = 4;
/// The largest piece that a registry may insist on, in bytes.
const CHUNK_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// How often a blob is sent anew because what arrived was not what was sent, or
/// was not kept.
const ANEW_MAX: u32 = 1;
/// How often it is asked whether a blob is there, before that counts as unknown.
const LOOKS_MAX: u32 = 3;

/// Where the bytes of a blob can be read, any number of times.
pub trait BlobSource: Send + Sync {
    /// Opens the blob at `offset` bytes from its start.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from being read; it ends the push.
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>>;
}

impl BlobSource for bytes::Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        let offset = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(offset..))))
    }
}

/// How a blob is to be pushed.
#[derive(Clone, Default)]
pub struct PushOptions {
    /// Repositories of the same registry that may hold the blob, most likely
    /// first. Only repositories that this build used: asking for others tells
    /// the registry what we are looking for (D22).
    pub mount_from: Vec<Repository>,
    /// Send in pieces of this many bytes. `None` sends everything in one
    /// request, which is cheapest, unless the registry wants pieces.
    pub chunk_bytes: Option<u64>,
    /// Is told what has been sent.
    pub progress: Option<Progress>,
}

/// How a blob came to be in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was taken over from another repository.
    Mounted,
    /// It was sent.
    Uploaded {
        /// Bytes sent, those sent again included.
        bytes: u64,
    },
}

/// The answer to the wish to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountOutcome {
    /// The blob is there now.
    Mounted,
    /// The registry does not mount it: not there, not allowed, or not offered.
    Refused,
}

/// One blob on its way.
struct Upload<'a> {
    exchange: &'a Exchange<'a>,
    descriptor: &'a Descriptor,
    source: &'a dyn BlobSource,
    options: &'a PushOptions,
    standing: Standing,
    /// Where to send to; `None` before the first session and after a lost one.
    session: Option<Url>,
    /// Bytes that the registry has.
    offset: u64,
    /// The smallest piece that the registry takes.
    chunk_bytes_min: u64,
    /// Bytes sent, those sent again included.
    sent: u64,
    anew: u32,
}

/// How one request of an upload went.
enum Step {
    /// Everything is sent, and the registry says that it has it.
    Finished,
    /// More of it is there.
    Advanced,
    /// It did not work and may work another time.
    Failed {
        error: Error,
        pause: Option<Duration>,
        /// Whether the registry may have stored the blob nevertheless.
        may_be_stored: bool,
    },
    /// Not let in; the token will be replaced.
    Renewed,
}

/// What a registry said to a mount.
enum Mount {
    Mounted,
    /// No, but here is a session to upload to.
    Session(Url, Option<u64>),
    Refused,
}

/// Whether the registry has the blob; `None` when it does not say.
pub(crate) async fn has(
    exchange: &Exchange<'_>,
    descriptor: &Descriptor,
) -> Result<Option<bool>, Error> {
    let url = exchange
        .url(&format!("blobs/{}", descriptor.digest))
        .await?;
    let ask = Ask::new(Method::HEAD, url, exchange.timing().headers);
    let mut answer = match exchange.send_up_to(&ask, LOOKS_MAX).await {
        Ok(answer) => answer,
        Err(error) if *error.kind() == ErrorKind::Server => return Ok(None),
        Err(error) => return Err(error),
    };
    match answer.status().as_u16() {
        200 => {
            let bytes = answer
                .header(CONTENT_LENGTH.as_str())
                .and_then(|text| text.parse::<u64>().ok());
            // Another length is not our blob, whatever the registry calls it.
            Ok(bytes
                .is_none_or(|bytes| bytes == descriptor.size)
                .then_some(true))
        }
        404 => Ok(Some(false)),
        400 | 405 | 416 | 500.. => Ok(None),
        _ => Err(exchange.refused(&mut answer, None).await),
    }
}

pub(crate) async fn has_blob(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
) -> Result<bool, Error> {
    let subject = format!("{} in {repository}", descriptor.digest);
    let operation = Operation::CheckBlob;
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, operation, &subject))?;
    let scope = Scope::pull(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, operation, &subject, vec![scope]);
    Ok(has(&exchange, descriptor).await?.unwrap_or(false))
}

pub(crate) async fn mount(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
    from: &Repository,
) -> Result<MountOutcome, Error> {
    match mount_from(hosts, repository, descriptor, from).await? {
        Mount::Mounted => Ok(MountOutcome::Mounted),
        Mount::Refused => Ok(MountOutcome::Refused),
        Mount::Session(session, _) => {
            let endpoint = for_push(&hosts.options.settings, repository).map_err(|blocked| {
                error::blocked(&blocked, Operation::MountBlob, &descriptor.digest)
            })?;
            let scope = Scope::push(&endpoint.path);
            let exchange = hosts.exchange(
                &endpoint,
                Operation::MountBlob,
                &descriptor.digest,
                vec![scope],
            );
            cancel(&exchange, session).await;
            Ok(MountOutcome::Refused)
        }
    }
}

async fn mount_from(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
    from: &Repository,
) -> Result<Mount, Error> {
    let subject = format!("{} from {from} into {repository}", descriptor.digest);
    let operation = Operation::MountBlob;
    let blocked = |blocked| error::blocked(&blocked, operation, &subject);
    let target = for_push(&hosts.options.settings, repository).map_err(blocked)?;
    let origin = for_push(&hosts.options.settings, from).map_err(blocked)?;
    if origin.name != target.name || origin.path == target.path {
        return Ok(Mount::Refused);
    }
    let scopes = vec![Scope::push(&target.path), Scope::pull(&origin.path)];
    let exchange = hosts.exchange(&target, operation, &subject, scopes);
    let mut url = exchange.url("blobs/uploads/").await?;
    url.query_pairs_mut()
        .append_pair("mount", descriptor.digest.as_str())
        .append_pair("from", &origin.path);
    let ask = Ask::new(Method::POST, url, exchange.timing().finish);
    let answer = match exchange.send(&ask).await {
        Ok(answer) => answer,
        // A source that may not be read is a reason to send, not to fail.
        Err(error) if error.http_status().is_some() => return Ok(Mount::Refused),
        Err(error) => return Err(error),
    };
    match answer.status() {
        StatusCode::CREATED => {
            drop(answer);
            // Registries answer 201 for what they did not store.
            match has(&exchange, descriptor).await? {
                Some(true) | None => Ok(Mount::Mounted),
                Some(false) => Ok(Mount::Refused),
            }
        }
        StatusCode::ACCEPTED => {
            let session = location(&exchange, &answer).await?;
            Ok(Mount::Session(session, chunk_bytes_min(&answer)))
        }
        _ => Ok(Mount::Refused),
    }
}

/// Makes sure that the registry has a blob.
pub(crate) async fn push(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
    source: &dyn BlobSource,
    options: &PushOptions,
) -> Result<Pushed, Error> {
    let subject = format!("{} to {repository}", descriptor.digest);
    let operation = Operation::PushBlob;
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, operation, &subject))?;
    let scope = Scope::push(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, operation, &subject, vec![scope]);
    if has(&exchange, descriptor).await? == Some(true) {
        return Ok(Pushed::Existed);
    }
    let mut upload = Upload {
        exchange: &exchange,
        descriptor,
        source,
        options,
        standing: Standing::default(),
        session: None,
        offset: 0,
        chunk_bytes_min: 0,
        sent: 0,
        anew: 0,
    };
    for from in options.mount_from.iter().take(MOUNTS_MAX) {
        match mount_from(hosts, repository, descriptor, from).await? {
            Mount::Mounted => {
                if let Some(session) = upload.session {
                    cancel(&exchange, session).await;
                }
                return Ok(Pushed::Mounted);
            }
            Mount::Session(session, chunk_bytes_min) => {
                // One session is enough; the registry would keep the others.
                match &upload.session {
                    Some(_) => cancel(&exchange, session).await,
                    None => upload.began(session, chunk_bytes_min),
                }
            }
            Mount::Refused => {}
        }
    }
    upload.run().await?;
    Ok(Pushed::Uploaded { bytes: upload.sent })
}

impl Upload<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let mut budget = Budget::new(self.exchange.timing());
        loop {
            let before = self.offset;
            let (error, pause) = match self.step().await? {
                Step::Finished => {
                    if has(self.exchange, self.descriptor).await? != Some(false) {
                        return Ok(());
                    }
                    let error = self.exchange.error(ErrorKind::NotStored);
                    (self.start_anew(error)?, None)
                }
                Step::Advanced => {
                    budget.progress();
                    continue;
                }
                // Whoever is not let in has changed nothing, and a question about
                // the session could use up the new token.
                Step::Renewed => continue,
                Step::Failed {
                    error,
                    pause,
                    may_be_stored,
                } => {
                    if may_be_stored && has(self.exchange, self.descriptor).await? == Some(true) {
                        return Ok(());
                    }
                    (error, pause)
                }
            };
            if let Err(why) = budget.failed(pause).await {
                return Err(given_up(error, why, budget.attempts() - 1));
            }
            self.find_offset().await?;
            if self.offset > before {
                budget.progress();
            }
        }
    }

    /// One request towards the goal.
    async fn step(&mut self) -> Result<Step, Error> {
        let session = match &self.session {
            Some(session) => session.clone(),
            None => self.begin().await?,
        };
        let size = self.descriptor.size;
        let in_pieces = self.options.chunk_bytes.is_some()
            || self.offset > 0
            || size == 0
            || self.exchange.host.wants_chunks.load(Ordering::Relaxed);
        if !in_pieces {
            let url = with_digest(&session, self.descriptor);
            return self.send(Method::PUT, url, size).await;
        }
        if self.offset == size {
            return self.finish(&session).await;
        }
        let left = size - self.offset;
        let bytes = match self.options.chunk_bytes {
            Some(bytes) => bytes.max(self.chunk_bytes_min).max(1).min(left),
            None => left,
        };
        self.send(Method::PATCH, session, bytes).await
    }

    /// Opens a session.
    async fn begin(&mut self) -> Result<Url, Error> {
        let url = self.exchange.url("blobs/uploads/").await?;
        let ask = Ask::new(Method::POST, url, self.exchange.timing().headers);
        let mut answer = self.exchange.send(&ask).await?;
        if answer.status() != StatusCode::ACCEPTED {
            if answer.status().is_success() {
                return Err(self
                    .exchange
                    .error(ErrorKind::Protocol)
                    .what("the registry does not open an upload")
                    .status(answer.status())
                    .url(answer.url()));
            }
            return Err(self.exchange.refused(&mut answer, None).await);
        }
        let session = location(self.exchange, &answer).await?;
        self.began(session.clone(), chunk_bytes_min(&answer));
        Ok(session)
    }

    fn began(&mut self, session: Url, chunk_bytes_min: Option<u64>) {
        self.session = Some(session);
        self.offset = 0;
        self.chunk_bytes_min = chunk_bytes_min.unwrap_or(0);
    }

    /// Sends `bytes` bytes from the offset on: a piece by PATCH, everything by
    /// PUT.
    async fn send(&mut self, method: Method, url: Url, bytes: u64) -> Result<Step, Error> {
        let is_put = method == Method::PUT;
        let timing = self.exchange.timing();
        let mut ask = Ask::new(method, url, timing.finish).header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        if !is_put {
            let last = self.offset + bytes - 1;
            let range = HeaderValue::from_str(&format!("{}-{last}", self.offset))
                .expect("digits and a dash are a header");
            ask = ask.header(CONTENT_RANGE, range);
        }
        let reader = self
            .source
            .open(self.offset)
            .map_err(|source| self.exchange.error(ErrorKind::Source).because(source))?;
        let body = UploadBody::new(reader, bytes, self.offset, self.options.progress.clone());
        let activity = body.activity();
        let proof = self.exchange.proof(&self.standing).await?;
        let sent = self.exchange.send_upload(&ask, body, &proof).await?;
        self.sent += activity.sent();
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(failure) if failure.is_transient() => {
                return Ok(Step::Failed {
                    error: self.exchange.failed(failure, Some(&ask.url)),
                    pause: None,
                    may_be_stored: is_put,
                });
            }
            Err(failure) => return Err(self.exchange.failed(failure, Some(&ask.url))),
        };
        if answer.status() == StatusCode::UNAUTHORIZED && !answer.left_origin {
            self.exchange
                .unauthorized(&mut answer, proof, &mut self.standing)
                .await?;
            return Ok(Step::Renewed);
        }
        self.exchange.admitted(&mut self.standing);
        if is_put {
            return self.judge_end(answer).await;
        }
        if !answer.status().is_success() {
            return self.judge_failure(answer, false).await;
        }
        self.session = Some(location(self.exchange, &answer).await?);
        let expected = self.offset + bytes;
        self.offset = match committed(&answer) {
            // A registry that says nothing has taken everything.
            None => expected,
            Some(offset) if offset <= expected => offset,
            Some(_) => {
                return Err(self
                    .exchange
                    .error(ErrorKind::Protocol)
                    .what("the registry claims to have more than was sent")
                    .url(answer.url()));
            }
        };
        if self.offset + bytes > expected || self.offset == expected {
            return Ok(Step::Advanced);
        }
        Ok(Step::Failed {
            error: self
                .exchange
                .error(ErrorKind::Protocol)
                .what("the registry takes nothing of what is sent")
                .url(answer.url()),
            pause: None,
            may_be_stored: false,
        })
    }

    /// Ends an upload whose bytes are all there.
    async fn finish(&mut self, session: &Url) -> Result<Step, Error> {
        let url = with_digest(session, self.descriptor);
        let ask = Ask::new(Method::PUT, url, self.exchange.timing().finish)
            .header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        match self.exchange.send_up_to(&ask, 1).await {
            Ok(answer) => self.judge_end(answer).await,
            Err(error) if error.may_pass() => Ok(Step::Failed {
                error,
                pause: None,
                may_be_stored: true,
            }),
            Err(error) => Err(error),
        }
    }

    /// What the answer to the request that should have ended the upload means.
    async fn judge_end(&mut self, answer: Answer) -> Result<Step, Error> {
        if !answer.status().is_success() {
            return self.judge_failure(answer, true).await;
        }
        let digest = &self.descriptor.digest;
        if let Some(claimed) = digest_of(self.exchange, &answer)?
            && claimed.algorithm() == digest.algorithm()
            && claimed != *digest
        {
            return Err(self
                .exchange
                .error(ErrorKind::Protocol)
                .what(format!(
                    "the registry says that it stored {claimed} instead"
                ))
                .status(answer.status())
                .url(answer.url()));
        }
        Ok(Step::Finished)
    }

    async fn judge_failure(&mut self, mut answer: Answer, is_put: bool) -> Result<Step, Error> {
        let status = answer.status();
        let pause = retry_after(answer.headers(), self.exchange.timing());
        let error = self.exchange.refused(&mut answer, None).await;
        let failed = |error, may_be_stored| {
            Ok(Step::Failed {
                error,
                pause,
                may_be_stored,
            })
        };
        if is_transient(status) {
            return failed(error, is_put);
        }
        let whole = is_put && self.offset < self.descriptor.size;
        match status.as_u16() {
            // One request for everything is not known here: pieces from now on.
            405 | 501 if whole && !self.exchange.host.wants_chunks.load(Ordering::Relaxed) => {
                self.exchange
                    .host
                    .wants_chunks
                    .store(true, Ordering::Relaxed);
                self.session = None;
                failed(error, false)
            }
            _ if *error.kind() == ErrorKind::Corrupted => {
                let error = self.start_anew(error)?;
                failed(error, false)
            }
            // The session is gone, or stands elsewhere: ask, or begin again.
            404 => {
                self.session = None;
                failed(error, is_put)
            }
            416 => failed(error, is_put),
            _ => Err(error),
        }
    }

    /// Sends everything once more because of `error`, which is given back; or
    /// fails with it when that was tried already.
    fn start_anew(&mut self, error: Error) -> Result<Error, Error> {
        if self.anew == ANEW_MAX {
            return Err(error);
        }
        self.anew += 1;
        self.session = None;
        self.offset = 0;
        Ok(error)
    }

    /// Asks the session how much it has; a session that cannot say is given up.
    async fn find_offset(&mut self) -> Result<(), Error> {
        let Some(session) = self.session.take() else {
            self.offset = 0;
            return Ok(());
        };
        let ask = Ask::new(Method::GET, session, self.exchange.timing().headers);
        let known = match self.exchange.send(&ask).await {
            Ok(answer) if answer.status().is_success() => {
                let offset = committed(&answer).unwrap_or(0);
                // Some registries leave out the place when it has not changed.
                let session = match answer.header(LOCATION.as_str()) {
                    Some(_) => location(self.exchange, &answer).await?,
                    None => ask.url.clone(),
                };
                Some((session, offset))
            }
            Ok(_) => None,
            Err(error) if error.may_pass() => None,
            Err(error) => return Err(error),
        };
        self.offset = 0;
        if let Some((session, offset)) = known
            && offset <= self.descriptor.size
        {
            self.session = Some(session);
            self.offset = offset;
        }
        Ok(())
    }
}

/// The place to go on at. May be anywhere that the origin policy allows (D03).
pub(crate) async fn location(exchange: &Exchange<'_>, answer: &Answer) -> Result<Url, Error> {
    let refuse = |what: String| {
        exchange
            .error(ErrorKind::Protocol)
            .what(what)
            .status(answer.status())
            .url(answer.url())
    };
    let Some(text) = answer.header(LOCATION.as_str()) else {
        return Err(refuse(
            "the registry does not say where to upload to".into(),
        ));
    };
    exchange
        .origin()
        .await?
        .follow(answer.url(), text)
        .map(|next| next.url)
        .map_err(|refusal| refuse(format!("the place to upload to is not used: {refusal}")))
}

/// How many bytes a session has, by the end of its `Range`. Some registries
/// write `0-0` for none, so a single byte counts as none too.
fn committed(answer: &Answer) -> Option<u64> {
    let text = answer.header(RANGE.as_str())?;
    let (_, last) = text.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

fn chunk_bytes_min(answer: &Answer) -> Option<u64> {
    answer
        .header("oci-chunk-min-length")?
        .parse()
        .ok()
        .filter(|bytes| *bytes <= CHUNK_BYTES_MAX)
}

fn with_digest(session: &Url, descriptor: &Descriptor) -> Url {
    let mut url = session.clone();
    url.query_pairs_mut()
        .append_pair("digest", descriptor.digest.as_str());
    url
}

/// Closes a session that is not needed. That it fails harms nobody: registries
/// forget old sessions.
pub(crate) async fn cancel(exchange: &Exchange<'_>, session: Url) {
    let ask = Ask::new(Method::DELETE, session, exchange.timing().idle);
    let _ = exchange.send_up_to(&ask, 1).await;
}
