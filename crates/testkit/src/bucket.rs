//! Services that keep objects, in memory on loopback: as much of Amazon S3, Google Cloud Storage,
//! Azure Blob Storage and the cache of GitHub Actions as a client of theirs needs, with faults.
//!
//! Signatures are recomputed from what arrived, independently of the code under test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What goes wrong with requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BucketFault {
    /// Nothing.
    #[default]
    None,
    /// This answer, with this `Retry-After`.
    Status(u16, Option<u32>),
    /// The connection is closed before anything is answered.
    Reset,
    /// The whole length is promised, and half of it sent.
    Truncate,
    /// One wrong bit in the middle of the content.
    Flip,
    /// The content comes a few bytes at a time.
    Slow,
    /// Ranges are not heeded.
    NoRanges,
}

/// How requests have to say who sends them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketAuth {
    /// Not at all.
    Open,
    /// Signature Version 4 with this key and secret, in this region.
    Aws {
        /// The name of the key.
        key: String,
        /// The key.
        secret: String,
        /// The region.
        region: String,
    },
    /// Azure's shared key, as bytes.
    Azure {
        /// The account.
        account: String,
        /// The key.
        key: Vec<u8>,
    },
    /// A token.
    Bearer(String),
}

/// A service; it ends with the process.
#[derive(Clone, Debug)]
pub struct Bucket {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    auth: BucketAuth,
    objects: BTreeMap<String, Vec<u8>>,
    /// In the order in which they were finished: entries of an action's cache.
    entries: Vec<String>,
    fault: BucketFault,
    /// Requests that the fault still meets.
    times: u32,
    log: Vec<String>,
}

struct Asked {
    method: String,
    /// As it was sent.
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Bucket {
    /// Starts a service without objects.
    pub fn start(auth: BucketAuth) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            auth,
            objects: BTreeMap::new(),
            entries: Vec::new(),
            fault: BucketFault::None,
            times: 0,
            log: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A peer that goes away is no fault of ours.
                std::thread::spawn(move || drop(serve(stream, &state, address)));
            }
        });
        Self { address, state }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Meets the next requests with a fault.
    pub fn fault(&self, fault: BucketFault, times: u32) {
        let mut state = self.lock();
        state.fault = fault;
        state.times = times;
    }

    /// What is there, by path.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().objects.clone()
    }

    /// Replaces the content of an object.
    pub fn put(&self, path: &str, content: Vec<u8>) {
        self.lock().objects.insert(path.to_owned(), content);
    }

    /// All requests since the last time, each as `STATUS METHOD PATH`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, address: SocketAddr) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or("").to_owned();
    let target = words.next().unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.by_ref().take(64 * 1024).read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let asked = Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body,
    };
    let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
    let fault = match guard.times {
        0 => BucketFault::None,
        times => {
            guard.times = times - 1;
            guard.fault.clone()
        }
    };
    if fault == BucketFault::Reset {
        return Ok(());
    }
    let (status, more, content) = match &fault {
        BucketFault::Status(status, after) => {
            let after = after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
            (
                *status,
                after.unwrap_or_default(),
                b"<Error>fault</Error>".to_vec(),
            )
        }
        fault => answer(&mut guard, &asked, address, fault),
    };
    let entry = format!("{status} {} {}", asked.method, asked.path);
    guard.log.push(entry);
    drop(guard);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n",
        content.len()
    )?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    match fault {
        BucketFault::Truncate => stream.write_all(&content[..content.len() / 2]),
        BucketFault::Slow => {
            for piece in content.chunks(content.len() / 5 + 1) {
                stream.write_all(piece)?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        BucketFault::Flip => {
            let mut wrong = content;
            let middle = wrong.len() / 2;
            if let Some(byte) = wrong.get_mut(middle) {
                *byte ^= 1;
            }
            stream.write_all(&wrong)
        }
        BucketFault::None
        | BucketFault::Status(..)
        | BucketFault::Reset
        | BucketFault::NoRanges => stream.write_all(&content),
    }
}

fn answer(
    state: &mut State,
    asked: &Asked,
    address: SocketAddr,
    fault: &BucketFault,
) -> (u16, String, Vec<u8>) {
    let plain = |status: u16, text: &str| (status, String::new(), text.as_bytes().to_vec());
    let is_signed_address = asked.path.starts_with("/signed/");
    if !is_signed_address && let Err(reason) = admit(&state.auth, asked) {
        return plain(403, &reason);
    }
    if let Some((_, method)) = asked.path.split_once("/twirp/") {
        let method = method.rsplit('/').next().unwrap_or("");
        return twirp(state, method, &asked.body, address);
    }
    let key = decode(&asked.path);
    match asked.method.as_str() {
        "PUT" => {
            let promised = asked.headers.get("x-amz-content-sha256");
            if promised.is_some_and(|hex| hex.len() == 64 && *hex != sha256(&asked.body)) {
                return plain(400, "XAmzContentSHA256Mismatch");
            }
            let is_azure = matches!(state.auth, BucketAuth::Azure { .. }) || is_signed_address;
            if is_azure && !asked.headers.contains_key("x-ms-blob-type") {
                return plain(400, "MissingRequiredHeader");
            }
            state.objects.insert(key, asked.body.clone());
            plain(201, "")
        }
        "GET" | "HEAD" => {
            let Some(content) = state.objects.get(&key) else {
                return plain(404, "NoSuchKey");
            };
            let range = asked
                .headers
                .get("range")
                .filter(|_| *fault != BucketFault::NoRanges);
            let range = range.and_then(|text| {
                let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
                Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
            });
            match range {
                None => (200, String::new(), content.clone()),
                Some((start, _)) if start >= content.len() => plain(416, "InvalidRange"),
                Some((start, end)) => {
                    let end = end.min(content.len() - 1);
                    let more = format!("Content-Range: bytes {start}-{end}/{}\r\n", content.len());
                    (206, more, content[start..=end].to_vec())
                }
            }
        }
        _ => plain(405, "MethodNotAllowed"),
    }
}

/// The cache of GitHub Actions: twirp over JSON.
fn twirp(
    state: &mut State,
    method: &str,
    body: &[u8],
    address: SocketAddr,
) -> (u16, String, Vec<u8>) {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| request[name].as_str().unwrap_or("").to_owned();
    let (key, version) = (text("key"), text("version"));
    let path = |key: &str| format!("/signed/{version}/{key}");
    let reply = match method {
        "CreateCacheEntry" => match state.entries.contains(&path(&key)) {
            true => return (409, String::new(), br#"{"code":"already_exists"}"#.to_vec()),
            false => serde_json::json!({
                "ok": true,
                "signed_upload_url": format!("http://{address}{}?sig=1", path(&key)),
            }),
        },
        "FinalizeCacheEntryUpload" => {
            let size = state
                .objects
                .get(&path(&key))
                .map(|content| content.len().to_string());
            let is_whole = size == Some(text("sizeBytes"));
            if is_whole {
                state.entries.push(path(&key));
            }
            serde_json::json!({ "ok": is_whole, "entry_id": "1" })
        }
        "GetCacheEntryDownloadURL" => {
            let empty = Vec::new();
            let beginnings = request["restoreKeys"].as_array().unwrap_or(&empty);
            let found = state.entries.iter().rev().find(|entry| {
                **entry == path(&key)
                    || beginnings
                        .iter()
                        .filter_map(|one| one.as_str())
                        .any(|one| entry.starts_with(&path(one)))
            });
            match found {
                None => serde_json::json!({ "ok": false }),
                Some(entry) => serde_json::json!({
                    "ok": true,
                    "signed_download_url": format!("http://{address}{entry}?sig=1"),
                    "matched_key": entry,
                }),
            }
        }
        _ => return (404, String::new(), br#"{"code":"bad_route"}"#.to_vec()),
    };
    (200, String::new(), reply.to_string().into_bytes())
}

/// Whether a request says who sends it, as it has to.
fn admit(auth: &BucketAuth, asked: &Asked) -> Result<(), String> {
    let given = asked
        .headers
        .get("authorization")
        .map_or("", String::as_str);
    let expected = match auth {
        BucketAuth::Open => return Ok(()),
        BucketAuth::Bearer(token) => format!("Bearer {token}"),
        BucketAuth::Aws {
            key,
            secret,
            region,
        } => {
            let header = |name: &str| asked.headers.get(name).map_or("", String::as_str);
            let names = given.split("SignedHeaders=").nth(1).unwrap_or("");
            let names = names.split(',').next().unwrap_or("");
            for needed in ["host", "x-amz-content-sha256", "x-amz-date"] {
                if !names.split(';').any(|name| name == needed) {
                    return Err(format!("{needed} is not signed"));
                }
            }
            let lines: String = names
                .split(';')
                .map(|name| format!("{name}:{}\n", header(name)))
                .collect();
            let time = header("x-amz-date");
            let day = time.get(..8).unwrap_or("");
            let scope = format!("{day}/{region}/s3/aws4_request");
            let request = format!(
                "{}\n{}\n{}\n{lines}\n{names}\n{}",
                asked.method,
                asked.path,
                asked.query,
                header("x-amz-content-sha256")
            );
            let text = format!(
                "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
                sha256(request.as_bytes())
            );
            let mut signing = hmac(format!("AWS4{secret}").as_bytes(), day.as_bytes());
            for part in [region.as_str(), "s3", "aws4_request"] {
                signing = hmac(&signing, part.as_bytes());
            }
            let signature = hex(&hmac(&signing, text.as_bytes()));
            format!(
                "AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},\
                 Signature={signature}"
            )
        }
        BucketAuth::Azure { account, key } => {
            let header = |name: &str| asked.headers.get(name).map_or("", String::as_str);
            let length = match header("content-length") {
                "0" => "",
                length => length,
            };
            let own: String = asked
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-ms-"))
                .map(|(name, value)| format!("{name}:{value}\n"))
                .collect();
            let text = [
                asked.method.as_str(),
                "",
                "",
                length,
                "",
                header("content-type"),
                "",
                "",
                "",
                "",
                "",
                header("range"),
            ]
            .join("\n");
            let text = format!("{text}\n{own}/{account}{}", asked.path);
            let signature = base64(&hmac(key, text.as_bytes()));
            format!("SharedKey {account}:{signature}")
        }
    };
    match given == expected {
        true => Ok(()),
        false => Err("SignatureDoesNotMatch".to_owned()),
    }
}

fn sha256(bytes: &[u8]) -> String {
    oci::Digest::of(bytes).hex().to_owned()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104, with keys that are shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = key.to_vec();
    assert!(block.len() <= 64, "a key is shorter than a block");
    block.resize(64, 0);
    let pad = |with: u8| -> Vec<u8> { block.iter().map(|byte| byte ^ with).collect() };
    let inner = sha256(&[pad(0x36), message.to_vec()].concat());
    unhex(&sha256(&[pad(0x5c), unhex(&inner)].concat()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three
            .iter()
            .enumerate()
            .fold(0_u32, |group, (place, byte)| {
                group | u32::from(*byte) << (16 - 8 * place)
            });
        for place in 0..4 {
            match place <= three.len() {
                true => text.push(DIGITS[(group >> (18 - 6 * place) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        if let (b'%', [high, low, further @ ..]) = (first, after) {
            let digits = [*high, *low];
            bytes.extend(unhex(std::str::from_utf8(&digits).unwrap_or("00")));
            rest = further;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
