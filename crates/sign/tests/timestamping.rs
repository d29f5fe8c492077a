//! A timestamp authority over http: OpenSSL's, and ones that answer anything but what they should.

// A test that cannot run here says so.
#![allow(clippy::print_stderr)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use oci::{Descriptor, Digest, MediaType};
use sign::{
    Certificate, Envelope, NotarySigner, PrivateKey, TimestampAuthority, TimestampError, Trust,
    envelope_of, verify_notary,
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn data(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("a file of the test data")
}

fn roots() -> Vec<Certificate> {
    Certificate::read_all(&data("root.pem")).unwrap()
}

fn signer(name: &str, envelope: Envelope) -> NotarySigner {
    let key = PrivateKey::read(&data(&format!("keys/{name}.pem")), None).unwrap();
    let chain = Certificate::read_all(&data(&format!("chains/{name}.pem"))).unwrap();
    NotarySigner::new(key, chain, envelope).unwrap()
}

fn subject() -> Descriptor {
    Descriptor::new(MediaType::OciManifest, Digest::of(b"manifest"), 8)
}

/// What a service does with a request: the status, and the body; nothing for silence.
type Service = dyn Fn(&[u8]) -> Option<(u16, Vec<u8>)> + Send + Sync;

/// Starts a service, and gives its address.
fn serve(service: Arc<Service>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let service = Arc::clone(&service);
            std::thread::spawn(move || drop(answer(stream, &*service)));
        }
    });
    format!("http://{address}/stamp")
}

fn answer(stream: TcpStream, service: &Service) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/timestamp-query"));
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let Some((status, body)) = service(&body) else {
        std::thread::sleep(Duration::from_secs(30));
        return Ok(());
    };
    let output = stream.get_mut();
    let length = body.len();
    write!(
        output,
        "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    )?;
    output.write_all(&body)
}

/// OpenSSL's authority, with a certificate; nothing where it is not installed.
fn openssl(query: &[u8], certificate: &str, key: &str) -> Option<Vec<u8>> {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name);
    std::fs::write(file("query"), query).unwrap();
    std::fs::write(file("serial"), "01").unwrap();
    let config = format!(
        "[tsa]\ndefault_tsa = one\n[one]\nserial = {}\ncrypto_device = builtin\nsigner_cert = {}\n\
         signer_key = {}\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n\
         digests = sha256, sha384, sha512\naccuracy = secs:1\nordering = no\ntsa_name = no\n\
         ess_cert_id_chain = no\ness_cert_id_alg = sha256\n",
        file("serial").display(),
        path(certificate).display(),
        path(key).display(),
    );
    std::fs::write(file("config"), config).unwrap();
    let output = Command::new("openssl")
        .args(["ts", "-reply", "-config"])
        .arg(file("config"))
        .arg("-queryfile")
        .arg(file("query"))
        .arg("-out")
        .arg(file("reply"))
        .output();
    match output {
        Ok(_) => std::fs::read(file("reply")).ok(),
        Err(_) => {
            eprintln!("skipped: openssl is not installed");
            None
        }
    }
}

fn stamp(
    name: &str,
    envelope: Envelope,
    service: Arc<Service>,
) -> Result<oci::Attachment, TimestampError> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let authority = TimestampAuthority::new(&serve(service), roots(), http)
        .unwrap()
        .with_deadline(Duration::from_secs(3));
    let signer = signer(name, envelope);
    let draft = signer.draft(&subject(), Timestamp::now(), None).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(authority.stamp(draft))
}

#[test]
fn openssl_stamps_and_what_is_stamped_counts() {
    if openssl(b"", "tsa.pem", "tsa-key.pem").is_none() && Command::new("openssl").output().is_err()
    {
        return;
    }
    for (name, envelope) in [
        ("p256", Envelope::Jws),
        ("p384", Envelope::Cose),
        ("p521", Envelope::Jws),
    ] {
        let service = |query: &[u8]| Some((200, openssl(query, "tsa.pem", "tsa-key.pem")?));
        let attachment = stamp(name, envelope, Arc::new(service)).unwrap();
        let (layer, kind) = envelope_of(attachment.manifest.value()).unwrap();
        let mut blobs = attachment.blobs.iter();
        let blob = blobs.find(|blob| blob.digest == layer.digest).unwrap();
        let trust = Trust {
            roots: roots(),
            timestamp_roots: roots(),
            ..Trust::default()
        };
        // Long after all certificates are over.
        let then: Timestamp = "2050-01-01T00:00:00Z".parse().unwrap();
        let verified = verify_notary(kind, &blob.bytes, &subject(), &trust, then).unwrap();
        assert!(verified.timestamped_at.is_some());
    }
}

#[test]
fn what_an_authority_says_is_not_just_believed() {
    let check = |service: Arc<Service>, expected: &str| {
        let error = stamp("p256", Envelope::Jws, service).map(drop).unwrap_err();
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(source) = next {
            text = format!("{text}: {source}");
            next = source.source();
        }
        assert!(text.contains(expected), "{text}\nhas no: {expected}");
    };
    let says = |status: u16, body: &[u8]| -> Arc<Service> {
        let body = body.to_vec();
        Arc::new(move |_| Some((status, body.clone())))
    };
    check(
        says(200, b"<html>log in</html>"),
        "something that is not of RFC 3161",
    );
    check(says(503, b""), "answered 503");
    check(says(307, b""), "answered 307");
    check(says(200, &vec![0x30; 1024 * 1024]), "answered more than");
    check(Arc::new(|_| None), "did not answer in time");
    // Rejected, in its own words.
    check(
        says(200, b"\x30\x0f\x30\x0d\x02\x01\x02\x30\x08\x0c\x06closed"),
        "refused (status 2): closed",
    );
    if openssl(b"", "tsa.pem", "tsa-key.pem").is_none() && Command::new("openssl").output().is_err()
    {
        return;
    }
    // The answer to another request about the same thing: its number is not ours.
    let other = |query: &[u8]| {
        let mut query = query.to_vec();
        // The nonce is the last but one value; the last is a boolean of three bytes.
        let at = query.len() - 4;
        query[at] ^= 1;
        Some((200, openssl(&query, "tsa.pem", "tsa-key.pem")?))
    };
    check(Arc::new(other), "it answers another request");
    // About something else.
    let other = |query: &[u8]| {
        let mut query = query.to_vec();
        let at = query.len() - 25;
        query[at] ^= 1;
        Some((200, openssl(&query, "tsa.pem", "tsa-key.pem")?))
    };
    check(Arc::new(other), "it is of another signature");
}
