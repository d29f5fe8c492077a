//! A signing service over TLS that asks for a client certificate, and misbehaves when told to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// How long a silent service holds a connection.
const SILENCE: Duration = Duration::from_secs(60);

/// What is wrong with the certificate that the service shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCertificate {
    /// Nothing.
    Good,
    /// It was over before today.
    Expired,
    /// Nobody signed it.
    SelfSigned,
    /// It is of another host.
    WrongHost,
}

/// What is wrong with the secret that a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientSecret {
    /// Nothing.
    Good,
    /// Its certificate was over before today.
    Expired,
    /// Its certificate is of an authority that the service does not know.
    Stranger,
    /// Its key is of another certificate.
    OtherKey,
}

/// How a request is answered. Without one, requests are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAnswer {
    /// 202, as the service should.
    Accepted,
    /// Another status, with a body.
    Status(u16, Vec<u8>),
    /// A status with `Retry-After` of so many seconds.
    Later(u16, u64),
    /// 307 to another place.
    Redirect(String),
    /// The connection is closed before any answer.
    Reset,
    /// No answer at all.
    Silence,
}

/// A service; it ends with the process.
#[derive(Clone)]
pub struct SigningService {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    authority: Arc<CertifiedIssuer<'static, KeyPair>>,
}

#[derive(Default)]
struct State {
    answers: VecDeque<ServiceAnswer>,
    bodies: Vec<Vec<u8>>,
}

impl SigningService {
    /// Starts a service that shows a certificate.
    pub fn start(certificate: ServerCertificate) -> Self {
        let authority = Arc::new(authority("kiln test authority"));
        let config = Arc::new(server_config(&authority, certificate));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, config) = (Arc::clone(&shared), Arc::clone(&config));
                // A peer that goes away is no fault of ours.
                std::thread::spawn(move || drop(serve(stream, &config, &state)));
            }
        });
        Self {
            address,
            state,
            authority,
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!(
            "https://localhost:{}/trusted-collections",
            self.address.port()
        )
    }

    /// The authority that a client has to trust, PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// Answers of the requests to come, in this order.
    pub fn answer(&self, answers: impl IntoIterator<Item = ServiceAnswer>) {
        let mut state = self.state.lock().expect("no panics here");
        state.answers.extend(answers);
    }

    /// The bodies that came, all of them.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.state.lock().expect("no panics here").bodies.clone()
    }

    /// A secret file for a client, with the lines that the rotator writes between certificates.
    pub fn secret(&self, kind: ClientSecret) -> Vec<u8> {
        let mut parameters = leaf("client");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if kind == ClientSecret::Expired {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let stranger;
        let issuer = match kind {
            ClientSecret::Stranger => {
                stranger = authority("a stranger");
                &stranger
            }
            ClientSecret::Good | ClientSecret::Expired | ClientSecret::OtherKey => &*self.authority,
        };
        let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
        let key = match kind {
            ClientSecret::OtherKey => KeyPair::generate().expect("a key"),
            ClientSecret::Good | ClientSecret::Expired | ClientSecret::Stranger => key,
        };
        let chain = format!(
            "subject=CN = client\nissuer=CN = authority\n\n{}\nsubject=CN = authority\n{}",
            certificate.pem(),
            issuer.pem()
        );
        serde_json::json!({
            "certData": STANDARD.encode(chain),
            "privateKeyData": STANDARD.encode(key.serialize_pem()),
            "createdAt": "2026-01-01T00:00:00Z",
            "certServiceURL": "https://certificates.example",
            "tokenURL": "https://tokens.example",
            "clientID": "client",
            "password": "",
        })
        .to_string()
        .into_bytes()
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(parameters, key).expect("a certificate")
}

fn leaf(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters
}

fn server_config(
    authority: &CertifiedIssuer<'static, KeyPair>,
    certificate: ServerCertificate,
) -> ServerConfig {
    let mut parameters = leaf(match certificate {
        ServerCertificate::WrongHost => "elsewhere.example",
        ServerCertificate::Good | ServerCertificate::Expired | ServerCertificate::SelfSigned => {
            "localhost"
        }
    });
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if certificate == ServerCertificate::Expired {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let made = match certificate {
        ServerCertificate::SelfSigned => parameters.self_signed(&key),
        ServerCertificate::Good | ServerCertificate::Expired | ServerCertificate::WrongHost => {
            parameters.signed_by(&key, authority)
        }
    };
    let made = made.expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM"))
        .expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .expect("a verifier");
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.der().clone()], key)
        .expect("a configuration")
}

fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        let answer = {
            let mut state = state.lock().expect("no panics here");
            state.bodies.push(body);
            state.answers.pop_front()
        };
        let output = stream.get_mut();
        match answer.unwrap_or(ServiceAnswer::Accepted) {
            ServiceAnswer::Accepted => {
                write!(output, "HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n")?;
            }
            ServiceAnswer::Status(status, body) => {
                write!(
                    output,
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                )?;
                output.write_all(&body)?;
            }
            ServiceAnswer::Later(status, seconds) => write!(
                output,
                "HTTP/1.1 {status} X\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n"
            )?,
            ServiceAnswer::Redirect(place) => write!(
                output,
                "HTTP/1.1 307 X\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"
            )?,
            ServiceAnswer::Reset => return Ok(()),
            ServiceAnswer::Silence => {
                std::thread::sleep(SILENCE);
                return Ok(());
            }
        }
        output.flush()?;
    }
}
