//! Google's services for access tokens, in memory on loopback: the token service, the exchange, the
//! service for acting as an account, the metadata server; and GitHub's service for the identity of a
//! job. Signatures and forms are checked as the real ones do it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::artifact_registry::ArtifactRegistry;
use crate::job_identity;
use crate::registry::query_value;

/// The token that all ways lead to.
pub const ACCESS_TOKEN: &str = "ya29.canary-access";
/// A user's refresh token.
pub const REFRESH_TOKEN: &str = "canary-refresh";
/// The identity of a job.
pub const SUBJECT: &str = "repo:o/r:ref:refs/heads/main";

/// What the exchange gives to an identity that does not act as an account.
pub const FEDERATED_TOKEN: &str = "ya29.canary-federated";
const CLIENT_SECRET: &str = "canary-client";
const REQUEST_TOKEN: &str = "canary-request";
const EMAIL: &str = "builder@p1.iam.gserviceaccount.com";
const PROVIDER: &str = "projects/123/locations/global/workloadIdentityPools/gh/providers/gh";

/// The services; they end with the process.
#[derive(Clone, Debug)]
pub struct Google {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// PKCS #8 in DER, and the public key.
    key: Vec<u8>,
    public: Vec<u8>,
    /// Answers that come first, by path.
    script: BTreeMap<String, (u16, String, u32)>,
    has_flavor: bool,
    seconds: Option<u64>,
    log: Vec<String>,
    artifact_registry: ArtifactRegistry,
    /// Tokens that were given, in all.
    given: u32,
    /// Where all this is, and the commit of the job whose identity is given out.
    url: String,
    job_commit: String,
}

struct Asked {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Google {
    /// Starts them on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let state = Arc::new(Mutex::new(State {
            key: key.as_der().expect("a key in DER").as_ref().to_vec(),
            public: key.public_key().as_ref().to_vec(),
            script: BTreeMap::new(),
            has_flavor: true,
            seconds: Some(3600),
            log: Vec::new(),
            artifact_registry: ArtifactRegistry::default(),
            given: 0,
            url: format!("http://{address}"),
            job_commit: String::new(),
        }));
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

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`, where the metadata server is.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The provider that the exchange knows.
    pub fn provider(&self) -> &'static str {
        PROVIDER
    }

    /// The account that can be acted as, and that the machine has.
    pub fn email(&self) -> &'static str {
        EMAIL
    }

    /// What the runner of GitHub Actions gives to a job: `ACTIONS_ID_TOKEN_REQUEST_URL` and
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub fn github(&self) -> (String, &'static str) {
        (
            format!("{}/github?api-version=2", self.url()),
            REQUEST_TOKEN,
        )
    }

    /// The commit that a job of GitHub Actions runs for. Identity tokens for an audience that is not
    /// Google's say it; their issuer is [`Google::url`], and they are signed.
    pub fn set_job_commit(&self, commit: &str) {
        lock(&self.state).job_commit = commit.to_owned();
    }

    /// The variables with which kiln asks here and nowhere else.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let url = self.url();
        vec![
            ("KILN_ENDPOINT_STS", format!("{url}/sts")),
            ("KILN_ENDPOINT_OAUTH2", format!("{url}/oauth2")),
            ("KILN_ENDPOINT_ARTIFACTREGISTRY", url.clone()),
            ("KILN_ENDPOINT_IAMCREDENTIALS", url),
        ]
    }

    /// Puts a repository, an image or a tag into Artifact Registry, by resource name
    /// (`projects/P/locations/L/repositories/R...`).
    pub fn put(&self, resource: &str, document: Value) {
        lock(&self.state).artifact_registry.put(resource, document);
    }

    /// A repository of Artifact Registry, by resource name.
    pub fn repository(&self, resource: &str) -> Option<Value> {
        lock(&self.state).artifact_registry.repository(resource)
    }

    /// How often somebody has to look until a repository is made.
    pub fn set_looks(&self, looks: u32) {
        lock(&self.state).artifact_registry.looks = looks;
    }

    /// Another answer of a path, so many times; then all is well again.
    pub fn answer(&self, path: &str, status: u16, body: &str, times: u32) {
        let script = (status, body.to_owned(), times);
        lock(&self.state).script.insert(path.to_owned(), script);
    }

    /// How long tokens are good; `None`: it is not said.
    pub fn set_life(&self, seconds: Option<u64>) {
        lock(&self.state).seconds = seconds;
    }

    /// Answers of the metadata server do not say whose it is any more.
    pub fn forget_flavor(&self) {
        lock(&self.state).has_flavor = false;
    }

    /// All requests so far, as `STATUS METHOD PATH`.
    pub fn log(&self) -> Vec<String> {
        lock(&self.state).log.clone()
    }

    /// How many access tokens were given.
    pub fn given(&self) -> u32 {
        lock(&self.state).given
    }

    /// The file of a service account's key.
    pub fn service_account(&self) -> Value {
        let der = STANDARD.encode(&lock(&self.state).key);
        json!({
            "type": "service_account",
            "client_email": EMAIL,
            "private_key_id": "canary-key-id",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"),
            "token_uri": "https://oauth2.googleapis.com/token",
        })
    }

    /// The file of a user's login.
    pub fn authorized_user(&self) -> Value {
        json!({
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
        })
    }

    /// The file of an identity of another provider, with its `credential_source`; and the account to
    /// act as.
    pub fn external_account(&self, source: Value, email: Option<&str>) -> Value {
        let mut file = json!({
            "type": "external_account",
            "audience": format!("//iam.googleapis.com/{PROVIDER}"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": source,
        });
        if let Some(email) = email {
            file["service_account_impersonation_url"] = impersonation(email).into();
        }
        file
    }

    /// The file of somebody who acts as an account.
    pub fn impersonated(&self, source: Value) -> Value {
        json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": impersonation(EMAIL),
            "source_credentials": source,
        })
    }

    /// The token of a job, as GitHub makes it.
    pub fn subject_token(&self) -> String {
        subject_token(&format!("https://iam.googleapis.com/{PROVIDER}"))
    }
}

fn impersonation(email: &str) -> String {
    format!(
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    )
}

fn subject_token(audience: &str) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "sub": SUBJECT,
        "aud": audience,
        "exp": 4_000_000_000_u64,
    });
    let header = encode(json!({ "alg": "RS256", "typ": "JWT" }));
    format!("{header}.{}.canary-signature", encode(claims))
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let asked = Asked::read(&mut reader)?;
    let (status, body, has_flavor) = {
        let mut state = lock(state);
        let scripted = match state.script.get_mut(&asked.path) {
            Some((status, body, times)) if *times > 0 => {
                *times -= 1;
                Some((*status, body.clone()))
            }
            _ => None,
        };
        let (status, body) = scripted.unwrap_or_else(|| state.judge(&asked));
        let line = format!("{status} {} {}", asked.method, asked.path);
        state.log.push(line);
        (status, body, state.has_flavor)
    };
    let flavor = match has_flavor && is_metadata(&asked.path) {
        true => "Metadata-Flavor: Google\r\n",
        false => "",
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\n{flavor}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn is_metadata(path: &str) -> bool {
    path == "/" || path.starts_with("/computeMetadata/")
}

impl Asked {
    fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let method = words.next().unwrap_or("").to_owned();
        let (path, query) = match words.next().unwrap_or("/").split_once('?') {
            Some((path, query)) => (path.to_owned(), query.to_owned()),
            None => (
                line.split(' ').nth(1).unwrap_or("/").to_owned(),
                String::new(),
            ),
        };
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
        let length = headers.get("content-length");
        let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = String::new();
        reader.take(length).read_to_string(&mut body)?;
        Ok(Self {
            method,
            path,
            query,
            headers,
            body,
        })
    }

    fn form(&self, name: &str) -> String {
        query_value(&self.body, name).unwrap_or_default()
    }

    fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.strip_prefix("Bearer ")
    }
}

impl State {
    fn judge(&mut self, asked: &Asked) -> (u16, String) {
        let accounts = "/v1/projects/-/serviceAccounts/";
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/oauth2") => self.token_service(asked),
            ("POST", "/sts") => self.exchange(asked),
            ("POST", path) if path.starts_with(accounts) => self.act_as(asked),
            ("GET", "/github") => self.github(asked),
            ("GET", job_identity::DISCOVERY) => {
                (200, job_identity::discovery(&self.url).to_string())
            }
            ("GET", job_identity::KEYS) => (200, job_identity::keys(&self.public).to_string()),
            ("GET", "/subject") => (200, subject_token(&default_audience())),
            ("GET", path) if is_metadata(path) => self.metadata(asked),
            (method, path) if ArtifactRegistry::is_asked(path) => match asked.bearer() {
                Some(ACCESS_TOKEN) => {
                    (self.artifact_registry).judge(method, path, &asked.query, &asked.body)
                }
                _ => (
                    401,
                    "{\"error\": {\"status\": \"UNAUTHENTICATED\"}}".to_owned(),
                ),
            },
            _ => (404, "nothing is here".to_owned()),
        }
    }

    fn github(&self, asked: &Asked) -> (u16, String) {
        if asked.bearer() != Some(REQUEST_TOKEN) {
            return (401, "no".to_owned());
        }
        let Some(audience) = query_value(&asked.query, "audience") else {
            return (400, "no audience".to_owned());
        };
        let token = match audience.starts_with("https://iam.googleapis.com/") {
            true => subject_token(&audience),
            false => {
                let (key, url, commit) = (&self.key, &self.url, &self.job_commit);
                job_identity::token(key, url, SUBJECT, &audience, commit)
            }
        };
        (200, json!({ "count": 1, "value": token }).to_string())
    }

    fn granted(&mut self, token: &str) -> (u16, String) {
        self.given += 1;
        let mut answer = json!({ "access_token": token, "token_type": "Bearer" });
        if let Some(seconds) = self.seconds {
            answer["expires_in"] = seconds.into();
        }
        (200, answer.to_string())
    }

    fn token_service(&mut self, asked: &Asked) -> (u16, String) {
        match asked.form("grant_type").as_str() {
            "refresh_token" => {
                let is_right = asked.form("client_id") == "client"
                    && asked.form("client_secret") == CLIENT_SECRET
                    && asked.form("refresh_token") == REFRESH_TOKEN;
                if is_right {
                    self.granted(ACCESS_TOKEN)
                } else {
                    oauth_error("invalid_grant", "Bad Request")
                }
            }
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                match self.verify(&asked.form("assertion")) {
                    Ok(()) => self.granted(ACCESS_TOKEN),
                    Err(reason) => oauth_error("invalid_grant", &reason),
                }
            }
            _ => oauth_error("unsupported_grant_type", "no such grant"),
        }
    }

    /// RFC 7515, section 5.2; RFC 7523, section 3.
    fn verify(&self, assertion: &str) -> Result<(), String> {
        let (text, signature) = assertion.rsplit_once('.').ok_or("no signature")?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|e| e.to_string())?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| "Invalid JWT Signature.")?;
        let (header, claims) = text.split_once('.').ok_or("no claims")?;
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = read(header).ok_or("no header")?;
        let claims = read(claims).ok_or("no claims")?;
        let life = claims["exp"].as_u64().zip(claims["iat"].as_u64());
        let checks = [
            ("alg", header["alg"] == "RS256"),
            ("kid", header["kid"] == "canary-key-id"),
            ("iss", claims["iss"] == EMAIL),
            (
                "aud",
                claims["aud"] == "https://oauth2.googleapis.com/token",
            ),
            (
                "scope",
                claims["scope"]
                    .as_str()
                    .is_some_and(|s| s.contains("/auth/")),
            ),
            (
                "exp",
                life.is_some_and(|(exp, iat)| exp > iat && exp - iat <= 3600),
            ),
        ];
        match checks.iter().find(|(_, is_right)| !is_right) {
            Some((name, _)) => Err(format!("Invalid JWT: {name}")),
            None => Ok(()),
        }
    }

    fn exchange(&mut self, asked: &Asked) -> (u16, String) {
        let right = [
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("scope", "https://www.googleapis.com/auth/cloud-platform"),
        ];
        if let Some((name, _)) = right
            .iter()
            .find(|(name, value)| asked.form(name) != *value)
        {
            return oauth_error("invalid_request", &format!("{name} is wrong"));
        }
        if asked.headers.contains_key("authorization") {
            return oauth_error("invalid_client", "no client is known");
        }
        if asked.form("audience") != format!("//iam.googleapis.com/{PROVIDER}") {
            return oauth_error(
                "invalid_target",
                "The target service indicated by the \"audience\" parameters is invalid.",
            );
        }
        let token = asked.form("subject_token");
        if token != subject_token(&default_audience()) {
            let reason = format!("The audience in ID Token [{token}] does not match.");
            return oauth_error("invalid_grant", &reason);
        }
        // Who acts as an account asks with this one; who does not is let in with it.
        self.granted(FEDERATED_TOKEN)
    }

    fn act_as(&mut self, asked: &Asked) -> (u16, String) {
        let may = matches!(asked.bearer(), Some(FEDERATED_TOKEN | ACCESS_TOKEN));
        let email = asked.path.rsplit('/').next().unwrap_or("");
        if !may || email != format!("{EMAIL}:generateAccessToken") {
            let error = json!({ "error": {
                "code": 403,
                "message": "Permission 'iam.serviceAccounts.getAccessToken' denied on resource",
                "status": "PERMISSION_DENIED",
            }});
            return (403, error.to_string());
        }
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        if !body["scope"].is_array() || body["lifetime"] != "3600s" {
            return oauth_error("INVALID_ARGUMENT", "scope or lifetime");
        }
        self.given += 1;
        let answer = json!({ "accessToken": ACCESS_TOKEN, "expireTime": "2040-01-01T00:00:00Z" });
        (200, answer.to_string())
    }

    fn metadata(&mut self, asked: &Asked) -> (u16, String) {
        if asked.headers.get("metadata-flavor").map(String::as_str) != Some("Google") {
            return (403, "Missing required header".to_owned());
        }
        let accounts = "/computeMetadata/v1/instance/service-accounts";
        match asked.path.strip_prefix(accounts) {
            Some("/default/token") if asked.query.contains("scopes=https") => {
                self.granted(ACCESS_TOKEN)
            }
            Some("/default/email") => (200, EMAIL.to_owned()),
            Some("/") => (200, format!("default/\n{EMAIL}/\n")),
            _ if asked.path == "/" => (200, "computeMetadata/\n".to_owned()),
            _ => (404, String::new()),
        }
    }
}

fn default_audience() -> String {
    format!("https://iam.googleapis.com/{PROVIDER}")
}

fn oauth_error(code: &str, description: &str) -> (u16, String) {
    let body = json!({ "error": code, "error_description": description });
    (400, body.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
