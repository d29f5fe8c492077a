//! A web server on loopback: pages in memory, with validators, and with faults at a chosen byte.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A page and how it is served.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The content.
    pub body: Vec<u8>,
    /// `ETag`, quotes included: the page is not sent to who has it.
    pub etag: Option<String>,
    /// `Last-Modified`: the same, for who sends this very text.
    pub last_modified: Option<String>,
    /// What goes wrong.
    pub fault: PageFault,
}

/// What goes wrong with a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PageFault {
    /// Nothing.
    #[default]
    None,
    /// The connection is closed after so many bytes of the content, this many times; then all is
    /// well.
    Cut {
        /// Bytes that are sent.
        after: usize,
        /// How often.
        times: usize,
    },
    /// Nothing comes any more after so many bytes, for as long as the peer waits.
    Stall(usize),
    /// Another answer than 200.
    Status(u16),
    /// 302 to another place.
    Redirect(String),
    /// Conditions are not heeded.
    NoConditions,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The status that was answered.
    pub status: u16,
}

/// A server; it ends with the process.
#[derive(Clone, Debug)]
pub struct Web {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    visits: Vec<Visit>,
}

/// How long a stalled connection is held.
const STALL: Duration = Duration::from_secs(60);

impl Web {
    /// Starts a server without pages.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A peer that goes away is no fault of ours.
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a page there, or replaces it.
    pub fn put(&self, path: &str, page: Page) {
        let mut state = self.state.lock().expect("no panics here");
        state.pages.insert(path.to_owned(), page);
    }

    /// A page with nothing special about it.
    pub fn text(&self, path: &str, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.put(
            path,
            Page {
                body,
                ..Page::default()
            },
        );
    }

    /// Takes a page away.
    pub fn remove(&self, path: &str) {
        let mut state = self.state.lock().expect("no panics here");
        state.pages.remove(path);
    }

    /// All requests since the last time, each as `STATUS PATH`.
    pub fn visits(&self) -> Vec<String> {
        self.take()
            .iter()
            .map(|visit| format!("{} {}", visit.status, visit.path))
            .collect()
    }

    /// All requests since the last time.
    pub fn take(&self) -> Vec<Visit> {
        std::mem::take(&mut self.state.lock().expect("no panics here").visits)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
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
    // What was sent is taken, or the connection would be reset before the answer is read.
    let length = headers.get("content-length");
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    let page = {
        let mut state = state.lock().expect("no panics here");
        let bare = path.split('?').next().unwrap_or("/");
        let page = state.pages.get(&path).or_else(|| state.pages.get(bare));
        let page = page.cloned();
        // The next one has one fault less to go.
        if let Some(PageFault::Cut { times, .. }) =
            state.pages.get_mut(bare).map(|page| &mut page.fault)
        {
            *times = times.saturating_sub(1);
        }
        page
    };
    let status = status(page.as_ref(), &headers);
    state.lock().expect("no panics here").visits.push(Visit {
        path,
        headers,
        status,
    });
    answer(stream, status, page.unwrap_or_default())
}

fn status(page: Option<&Page>, headers: &BTreeMap<String, String>) -> u16 {
    let Some(page) = page else { return 404 };
    match &page.fault {
        PageFault::Status(status) => return *status,
        PageFault::Redirect(_) => return 302,
        PageFault::NoConditions => return 200,
        PageFault::None | PageFault::Cut { .. } | PageFault::Stall(_) => {}
    }
    let same =
        |header: &str, now: &Option<String>| now.is_some() && headers.get(header) == now.as_ref();
    let unchanged = match headers.contains_key("if-none-match") {
        true => same("if-none-match", &page.etag),
        false => same("if-modified-since", &page.last_modified),
    };
    if unchanged { 304 } else { 200 }
}

fn answer(mut stream: TcpStream, status: u16, page: Page) -> std::io::Result<()> {
    let body = if status == 200 { page.body } else { Vec::new() };
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let PageFault::Redirect(location) = &page.fault {
        head.push_str(&format!("Location: {location}\r\n"));
    }
    if let Some(etag) = &page.etag {
        head.push_str(&format!("ETag: {etag}\r\n"));
    }
    if let Some(date) = &page.last_modified {
        head.push_str(&format!("Last-Modified: {date}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    match page.fault {
        PageFault::Cut { after, times } if times > 0 => {
            stream.write_all(&body[..after.min(body.len())])
        }
        PageFault::Stall(after) => {
            stream.write_all(&body[..after.min(body.len())])?;
            stream.flush()?;
            stream.set_read_timeout(Some(STALL))?;
            // Until the peer has had enough.
            stream.read(&mut [0]).map(drop)
        }
        PageFault::None
        | PageFault::Cut { .. }
        | PageFault::Status(_)
        | PageFault::Redirect(_)
        | PageFault::NoConditions => stream.write_all(&body),
    }
}
