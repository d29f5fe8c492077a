//! The JWS envelope: JSON, and base64 within JSON (envelope specification for JWS).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{
    AGENT, ALGORITHMS, AUTHENTIC_SIGNING_TIME, Claims, Contents, ENVELOPE_BYTES_MAX, EXPIRY,
    EnvelopeError, OUR_AGENT, PAYLOAD_TYPE, RawClaims, SCHEME, SIGNING_TIME, TIMESTAMP, printable,
};
use crate::certificate::Chain;
use crate::key::KeyKind;

/// Flattened; a key that is not here is an error, and so is one that is there twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "x5c", default)]
    certificates: Vec<String>,
    #[serde(
        rename = "io.cncf.notary.timestampSignature",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    timestamp: Option<String>,
    #[serde(
        rename = "io.cncf.notary.signingAgent",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    agent: Option<String>,
    /// What nobody signed and nobody needs.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Names that count only where they are signed.
const PROTECTED: [&str; 8] = [
    "alg",
    "cty",
    "crit",
    "b64",
    SCHEME,
    SIGNING_TIME,
    AUTHENTIC_SIGNING_TIME,
    EXPIRY,
];

/// An object in which no name is there twice: two readers would read two things.
pub(super) struct Unique<V>(pub(super) BTreeMap<String, V>);

impl<V> Default for Unique<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Names<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut unique = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if unique.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name is there twice"));
                    }
                }
                Ok(Unique(unique))
            }
        }
        deserializer.deserialize_map(Names(PhantomData))
    }
}

const FORM: EnvelopeError = EnvelopeError::Form("JWS");

/// Reads an envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge);
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|_| FORM)?;
    for name in PROTECTED {
        if document.header.others.contains_key(name) {
            return Err(EnvelopeError::Header(name));
        }
    }
    let url = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| FORM);
    let protected = url(&document.protected)?;
    let Unique::<Value>(protected) = serde_json::from_slice(&protected).map_err(|_| FORM)?;
    let text = |name: &'static str| match protected.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        _ => Err(EnvelopeError::Header(name)),
    };
    let time = |name: &'static str| match protected.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(EnvelopeError::Header(name)),
        },
        Some(_) => Err(EnvelopeError::Header(name)),
    };
    let algorithm = text("alg")?;
    let key = ALGORITHMS.iter().find(|(_, name, _)| *name == algorithm);
    let key = key.ok_or_else(|| EnvelopeError::Algorithm(printable(algorithm)))?;
    let payload_type = text("cty")?;
    if payload_type != PAYLOAD_TYPE {
        return Err(EnvelopeError::PayloadType(printable(payload_type)));
    }
    let critical = match protected.get("crit") {
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let claims = RawClaims {
        scheme: text(SCHEME)?.to_owned(),
        signing_time: time(SIGNING_TIME)?,
        authentic_signing_time: time(AUTHENTIC_SIGNING_TIME)?,
        expires: time(EXPIRY)?,
        critical: critical.ok_or(EnvelopeError::Header("crit"))?,
    };
    let plain = |text: &String| STANDARD.decode(text);
    let certificates = document.header.certificates.iter().map(plain);
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|_| EnvelopeError::Header("x5c"))?;
    if certificates.is_empty() {
        return Err(EnvelopeError::NoCertificates);
    }
    let timestamp = document.header.timestamp.as_ref().map(plain).transpose();
    Ok(Contents {
        signed: format!("{}.{}", document.protected, document.payload).into_bytes(),
        signature: url(&document.signature)?,
        payload: url(&document.payload)?,
        key: key.0,
        claims: claims.check()?,
        certificates,
        timestamp: timestamp.map_err(|_| EnvelopeError::Header(TIMESTAMP))?,
    })
}

/// An envelope without its signature.
pub(super) struct Unsigned {
    payload: String,
    protected: String,
}

impl Unsigned {
    pub(super) fn new(key: KeyKind, payload: &[u8], claims: &Claims) -> Option<Self> {
        let (_, algorithm, _) = ALGORITHMS.iter().find(|(kind, _, _)| *kind == key)?;
        let mut critical = vec![SCHEME];
        let mut protected = BTreeMap::from([
            ("alg", Value::from(*algorithm)),
            ("cty", Value::from(PAYLOAD_TYPE)),
            (SCHEME, Value::from(claims.scheme.name())),
            (SIGNING_TIME, Value::from(claims.signed_at.to_string())),
        ]);
        if let Some(expires) = claims.expires {
            critical.push(EXPIRY);
            protected.insert(EXPIRY, Value::from(expires.to_string()));
        }
        protected.insert("crit", Value::from(critical));
        let protected = serde_json::to_vec(&protected).ok()?;
        Some(Self {
            payload: URL_SAFE_NO_PAD.encode(payload),
            protected: URL_SAFE_NO_PAD.encode(protected),
        })
    }

    /// What is to be signed.
    pub(super) fn message(&self) -> Vec<u8> {
        format!("{}.{}", self.protected, self.payload).into_bytes()
    }

    /// The whole.
    pub(super) fn finish(
        self,
        chain: &Chain,
        signature: &[u8],
        timestamp: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let certificates = chain.certificates().iter();
        let document = Document {
            payload: self.payload,
            protected: self.protected,
            header: Header {
                certificates: certificates
                    .map(|certificate| STANDARD.encode(certificate.as_der()))
                    .collect(),
                timestamp: timestamp.map(|token| STANDARD.encode(token)),
                agent: Some(OUR_AGENT.to_owned()),
                others: BTreeMap::new(),
            },
            signature: URL_SAFE_NO_PAD.encode(signature),
        };
        serde_json::to_vec(&document).ok()
    }
}

// The header's own name in the struct above; serde takes no constants there.
const _: () = assert!(matches!(AGENT.as_bytes(), b"io.cncf.notary.signingAgent"));
