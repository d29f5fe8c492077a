//! HTTP/1.1 on one side, [`super::verbs`] on the other, and the script between.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::auth::Verdict;
use super::body::{Cut, End, ScriptedBody};
use super::content::Refused;
use super::fault::Action;
use super::log::Entry;
use super::route::{Endpoint, Route, query_value};
use super::verbs::{Asked, Reply, answer};
use super::{Shared, lock};

/// Takes connections until the runtime ends.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>, token_port: bool) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let connection = Connection {
                stream,
                reset: Arc::clone(&reset),
            };
            let service = service_fn(move |request| {
                serve(Arc::clone(&shared), Arc::clone(&reset), token_port, request)
            });
            // Errors here are cut connections: the client's doing, or the script's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
    }
}

/// How the answer leaves, beside what it says.
struct Delivery {
    bytes_max: Option<u64>,
    end: End,
    pace: Option<(u64, u64)>,
}

async fn serve(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    token_port: bool,
    request: Request<Incoming>,
) -> Result<Response<ScriptedBody>, Cut> {
    let (head, body) = request.into_parts();
    let route = Route::of(head.uri.path());
    let entry = lock(&shared.log).begin(&head, &route, token_port);
    let mut delivery = Delivery {
        bytes_max: None,
        end: End::Whole,
        pace: None,
    };

    let fault = match admit(&shared, &head, &route, token_port) {
        Err(challenge) => {
            drain(body, &entry).await?;
            return Ok(respond(challenge, delivery, reset, entry));
        }
        Ok(()) => lock(&shared.script).next(&head.method, &route),
    };
    if fault.is_some() {
        entry.faulted.store(1, Ordering::SeqCst);
    }

    // Faults that come before anything is done.
    let fault = match fault {
        Some(Action::Status {
            code,
            headers,
            body: text,
        }) => {
            drain(body, &entry).await?;
            let reply = Reply {
                status: code,
                headers,
                body: text.into(),
            };
            return Ok(respond(reply, delivery, reset, entry));
        }
        Some(Action::Redirect { code, location }) => {
            drain(body, &entry).await?;
            let reply = Reply {
                status: code,
                headers: vec![("location".into(), location)],
                body: Bytes::new(),
            };
            return Ok(respond(reply, delivery, reset, entry));
        }
        Some(Action::ResetRequest { after }) => {
            take_in(&shared, &head, &route, body, &entry, Some(after)).await?;
            reset.store(true, Ordering::SeqCst);
            return Err(Cut);
        }
        Some(Action::Stall { after: None }) => {
            std::future::pending::<()>().await;
            return Err(Cut);
        }
        other => other,
    };

    let received = match take_in(&shared, &head, &route, body, &entry, None).await {
        Ok(received) => received,
        Err(Taken::Refused(reply)) => return Ok(respond(reply, delivery, reset, entry)),
        Err(Taken::Cut) => return Err(Cut),
    };
    let keep = !matches!(fault, Some(Action::Forget));
    let ranges = !matches!(fault, Some(Action::IgnoreRange));
    let mut reply = act(&shared, &head, &route, received, keep, ranges);

    if let Some(Action::StallAfter) = fault {
        std::future::pending::<()>().await;
    }
    if let Some(fault) = fault {
        spoil(&mut reply, &mut delivery, fault);
    }
    Ok(respond(reply, delivery, reset, entry))
}

/// Lets a request in, or gives the challenge to answer it with.
fn admit(shared: &Shared, head: &Parts, route: &Route, token_port: bool) -> Result<(), Reply> {
    match route.endpoint {
        Endpoint::Token | Endpoint::File => return Ok(()),
        _ if token_port => {
            return Err(Refused(404, "NOT_FOUND", "only tokens here".into()).into());
        }
        _ => {}
    }
    let verdict = lock(&shared.tokens).judge(
        &shared.options.auth,
        &shared.realm_url,
        &head.method,
        route,
        header(head, "authorization"),
    );
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::Challenge(challenge) => {
            let words = "authentication required".into();
            Err(Reply::from(Refused(401, "UNAUTHORIZED", words))
                .header("www-authenticate", challenge))
        }
    }
}

/// Why a body was not taken in to its end.
enum Taken {
    Cut,
    Refused(Reply),
}

impl From<Taken> for Cut {
    fn from(_: Taken) -> Self {
        Self
    }
}

/// Receives the body: into the upload session as it comes, so that what
/// arrived before a cut is there; or as a whole, for everything else.
async fn take_in(
    shared: &Shared,
    head: &Parts,
    route: &Route,
    mut body: Incoming,
    entry: &Entry,
    bytes_max: Option<u64>,
) -> Result<Bytes, Taken> {
    let uploading = route.endpoint == Endpoint::UploadSession
        && matches!(head.method, Method::PATCH | Method::PUT);
    if uploading && let Err(reply) = check_chunk(shared, head, route) {
        drain(body, entry).await.map_err(|_| Taken::Cut)?;
        return Err(Taken::Refused(reply));
    }
    let mut whole = Vec::new();
    let mut left = bytes_max.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|_| Taken::Cut)?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= data.len() as u64;
        entry
            .bytes_in
            .fetch_add(data.len() as u64, Ordering::SeqCst);
        if uploading {
            lock(&shared.content).append(&route.reference, &data);
        } else {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}

/// Whether a chunk continues where its session stands.
fn check_chunk(shared: &Shared, head: &Parts, route: &Route) -> Result<(), Reply> {
    let content = lock(&shared.content);
    let Some(size) = content.upload_size(&route.repository, &route.reference) else {
        return Err(Refused(404, "BLOB_UPLOAD_UNKNOWN", route.reference.clone()).into());
    };
    let state = head
        .uri
        .query()
        .and_then(|query| query_value(query, "_state"));
    if state.is_none_or(|state| state != size.to_string()) {
        // Either an old location, or a session that got more bytes than the
        // client knows of. The status request tells the current one.
        return Err(Reply::from(Refused(
            416,
            "BLOB_UPLOAD_INVALID",
            format!("the upload stands at {size}"),
        ))
        .header("range", format!("0-{}", size.saturating_sub(1))));
    }
    let Some(range) = header(head, "content-range") else {
        return Ok(());
    };
    let start = range.trim_start_matches("bytes ").split('-').next();
    if start.and_then(|text| text.parse().ok()) == Some(size) {
        return Ok(());
    }
    let words = format!("chunk {range} does not continue at {size}");
    Err(Reply::from(Refused(416, "BLOB_UPLOAD_INVALID", words))
        .header("range", format!("0-{}", size.saturating_sub(1))))
}

async fn drain(mut body: Incoming, entry: &Entry) -> Result<(), Cut> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Cut)?;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        entry.bytes_in.fetch_add(bytes as u64, Ordering::SeqCst);
    }
    Ok(())
}

fn act(
    shared: &Shared,
    head: &Parts,
    route: &Route,
    body: Bytes,
    keep: bool,
    ranges: bool,
) -> Reply {
    let query = head.uri.query().unwrap_or("");
    let authorization = header(head, "authorization");
    match route.endpoint {
        Endpoint::Token => {
            let form = String::from_utf8_lossy(&body);
            let parameters = if head.method == Method::POST {
                &*form
            } else {
                query
            };
            let issued =
                lock(&shared.tokens).issue(&shared.options.auth, parameters, authorization);
            match issued {
                Some(token) => Reply::new(StatusCode::OK).body("application/json", token),
                None => Refused(401, "UNAUTHORIZED", "no token for you".into()).into(),
            }
        }
        Endpoint::File => match lock(&shared.files).get(head.uri.path()) {
            Some(file) => Reply::new(StatusCode::OK).body("application/octet-stream", file.clone()),
            None => Refused(404, "NOT_FOUND", route.reference.clone()).into(),
        },
        _ => {
            let may_mount = query_value(query, "from").is_none_or(|from| {
                lock(&shared.tokens).may_pull(&shared.options.auth, &from, authorization)
            });
            let asked = Asked {
                method: &head.method,
                route,
                query,
                content_type: header(head, "content-type"),
                range: header(head, "range").filter(|_| ranges),
                if_match: header(head, "if-match"),
                body,
                may_mount,
                keep,
                base_url: &shared.base_url,
            };
            answer(&mut lock(&shared.content), &shared.options, &asked)
        }
    }
}

/// Applies a fault to an answer that was right.
fn spoil(reply: &mut Reply, delivery: &mut Delivery, fault: Action) {
    match fault {
        Action::StatusAfter(code) => reply.status = code,
        Action::Reset { after } => {
            delivery.bytes_max = Some(after);
            delivery.end = End::Reset;
        }
        Action::Stall { after } => {
            delivery.bytes_max = after;
            delivery.end = End::Stalled;
        }
        Action::Truncate { after } => {
            delivery.bytes_max = Some(after);
            delivery.end = End::Closed;
        }
        Action::FlipBit { at } => {
            let mut bytes = reply.body.to_vec();
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1;
            }
            reply.body = bytes.into();
        }
        Action::ReplaceBody(bytes) => reply.body = bytes.into(),
        Action::ReplaceHeader { name, value } => reply.replace_header(&name, value.as_deref()),
        Action::LieDigest => {
            let other = oci::Digest::of(b"something else");
            reply.replace_header("docker-content-digest", Some(other.as_str()));
        }
        Action::SlowBytes { bytes, pause_ms } => delivery.pace = Some((bytes, pause_ms)),
        // Acted on before the answer was made.
        Action::Forget
        | Action::IgnoreRange
        | Action::StallAfter
        | Action::Status { .. }
        | Action::Redirect { .. }
        | Action::ResetRequest { .. } => {}
    }
}

fn respond(
    reply: Reply,
    delivery: Delivery,
    reset: Arc<AtomicBool>,
    entry: Arc<Entry>,
) -> Response<ScriptedBody> {
    entry
        .status
        .store(u64::from(reply.status), Ordering::SeqCst);
    let length_given =
        (reply.headers.iter()).any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if !length_given && reply.status != 204 {
        response = response.header("content-length", reply.body.len());
    }
    let mut bytes = reply.body;
    if let Some(max) = delivery.bytes_max {
        bytes.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    }
    let mut body = ScriptedBody::new(bytes, delivery.end, reset, entry);
    if let Some((bytes, pause_ms)) = delivery.pace {
        let piece = usize::try_from(bytes).unwrap_or(usize::MAX);
        body = body.paced(piece, Duration::from_millis(pause_ms));
    }
    response
        .body(body)
        .expect("scripted headers are well-formed")
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

/// A connection that closes with a reset when it was told to.
struct Connection {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            // Closing with a linger of zero sends RST instead of FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
