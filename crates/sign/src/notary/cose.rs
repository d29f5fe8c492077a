//! The COSE envelope: CBOR with numbers for names (envelope specification for COSE).

use coset::cbor::value::Value;
use coset::iana::{self, EnumI64 as _};
use coset::{
    Algorithm, ContentType, CoseSign1, Header, Label, ProtectedHeader, RegisteredLabelWithPrivate,
    TaggedCborSerializable as _,
};
use jiff::Timestamp;

use super::{
    AGENT, ALGORITHMS, AUTHENTIC_SIGNING_TIME, Claims, Contents, ENVELOPE_BYTES_MAX, EXPIRY,
    EnvelopeError, OUR_AGENT, PAYLOAD_TYPE, RawClaims, SCHEME, SIGNING_TIME, TIMESTAMP, printable,
};
use crate::certificate::Chain;
use crate::key::KeyKind;

/// The certificates (RFC 9360).
const X5CHAIN: i64 = 33;
/// A number of seconds since 1970 (RFC 8949, 3.4.2).
const EPOCH: u64 = 1;

const FORM: EnvelopeError = EnvelopeError::Form("COSE");

/// Reads an envelope. Names that are there twice are refused by the library.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge);
    }
    let document = CoseSign1::from_tagged_slice(bytes).map_err(|_| FORM)?;
    let signed = document.tbs_data(&[]);
    let CoseSign1 {
        protected,
        unprotected,
        payload,
        signature,
    } = document;
    let protected = protected.header;
    if unprotected.alg.is_some() || !unprotected.crit.is_empty() {
        return Err(EnvelopeError::Header("alg"));
    }
    if unprotected.content_type.is_some() {
        return Err(EnvelopeError::Header("content type"));
    }
    for name in [SCHEME, SIGNING_TIME, AUTHENTIC_SIGNING_TIME, EXPIRY] {
        if find(&unprotected, name).is_some() {
            return Err(EnvelopeError::Header(name));
        }
    }
    let key = match &protected.alg {
        Some(Algorithm::Assigned(number)) => ALGORITHMS
            .iter()
            .find(|(_, _, known)| known == number)
            .ok_or_else(|| EnvelopeError::Algorithm(number.to_i64().to_string()))?,
        Some(Algorithm::PrivateUse(number)) => {
            return Err(EnvelopeError::Algorithm(number.to_string()));
        }
        Some(Algorithm::Text(name)) => return Err(EnvelopeError::Algorithm(printable(name))),
        None => return Err(EnvelopeError::Header("alg")),
    };
    match &protected.content_type {
        Some(ContentType::Text(text)) if text == PAYLOAD_TYPE => {}
        Some(ContentType::Text(text)) => {
            return Err(EnvelopeError::PayloadType(printable(text)));
        }
        Some(ContentType::Assigned(number)) => {
            return Err(EnvelopeError::PayloadType(number.to_i64().to_string()));
        }
        None => return Err(EnvelopeError::Header("content type")),
    }
    let critical = protected.crit.iter().map(|label| match label {
        RegisteredLabelWithPrivate::Text(name) => name.clone(),
        RegisteredLabelWithPrivate::Assigned(number) => number.to_i64().to_string(),
        RegisteredLabelWithPrivate::PrivateUse(number) => number.to_string(),
    });
    let claims = RawClaims {
        scheme: match find(&protected, SCHEME) {
            Some(Value::Text(text)) => text.clone(),
            _ => return Err(EnvelopeError::Header(SCHEME)),
        },
        signing_time: time(&protected, SIGNING_TIME)?,
        authentic_signing_time: time(&protected, AUTHENTIC_SIGNING_TIME)?,
        expires: time(&protected, EXPIRY)?,
        critical: critical.collect(),
    };
    Ok(Contents {
        signed,
        signature,
        payload: payload.ok_or(FORM)?,
        key: key.0,
        claims: claims.check()?,
        certificates: certificates(&protected, &unprotected)?,
        timestamp: match find(&unprotected, TIMESTAMP) {
            None => None,
            Some(Value::Bytes(token)) => Some(token.clone()),
            Some(_) => return Err(EnvelopeError::Header(TIMESTAMP)),
        },
    })
}

/// A header with a name.
fn find<'h>(header: &'h Header, name: &str) -> Option<&'h Value> {
    let mut rest = header.rest.iter();
    let found = rest.find(|(label, _)| matches!(label, Label::Text(text) if text == name));
    found.map(|(_, value)| value)
}

/// A header with a number.
fn numbered(header: &Header, number: i64) -> Option<&Value> {
    let mut rest = header.rest.iter();
    let found = rest.find(|(label, _)| *label == Label::Int(number));
    found.map(|(_, value)| value)
}

fn time(header: &Header, name: &'static str) -> Result<Option<Timestamp>, EnvelopeError> {
    let wrong = EnvelopeError::Header(name);
    match find(header, name) {
        None => Ok(None),
        Some(Value::Tag(EPOCH, value)) => {
            let seconds = value
                .as_integer()
                .and_then(|number| i64::try_from(number).ok());
            let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
            time.map(Some).ok_or(wrong)
        }
        Some(_) => Err(wrong),
    }
}

/// The chain, which may also be signed.
fn certificates(protected: &Header, unprotected: &Header) -> Result<Vec<Vec<u8>>, EnvelopeError> {
    let wrong = EnvelopeError::Header("x5chain");
    let value = match (numbered(protected, X5CHAIN), numbered(unprotected, X5CHAIN)) {
        (Some(value), None) | (None, Some(value)) => value,
        (None, None) => return Err(EnvelopeError::NoCertificates),
        (Some(_), Some(_)) => return Err(wrong),
    };
    let Value::Array(values) = value else {
        return Err(wrong);
    };
    if values.is_empty() {
        return Err(EnvelopeError::NoCertificates);
    }
    let certificates = values.iter().map(|value| match value {
        Value::Bytes(der) => Some(der.clone()),
        _ => None,
    });
    certificates.collect::<Option<_>>().ok_or(wrong)
}

/// An envelope without its signature.
pub(super) struct Unsigned(CoseSign1);

impl Unsigned {
    pub(super) fn new(key: KeyKind, payload: &[u8], claims: &Claims) -> Option<Self> {
        let (_, _, algorithm) = ALGORITHMS.iter().find(|(kind, _, _)| *kind == key)?;
        let time =
            |at: Timestamp| Value::Tag(EPOCH, Box::new(Value::Integer(at.as_second().into())));
        let text = |name: &str| Label::Text(name.to_owned());
        let mut header = Header {
            alg: Some(Algorithm::Assigned(*algorithm)),
            crit: vec![RegisteredLabelWithPrivate::Text(SCHEME.to_owned())],
            content_type: Some(ContentType::Text(PAYLOAD_TYPE.to_owned())),
            rest: vec![
                (text(SCHEME), Value::Text(claims.scheme.name().to_owned())),
                (text(SIGNING_TIME), time(claims.signed_at)),
            ],
            ..Header::default()
        };
        if let Some(expires) = claims.expires {
            let name = RegisteredLabelWithPrivate::<iana::HeaderParameter>::Text(EXPIRY.to_owned());
            header.crit.push(name);
            header.rest.push((text(EXPIRY), time(expires)));
        }
        Some(Self(CoseSign1 {
            protected: ProtectedHeader {
                original_data: None,
                header,
            },
            unprotected: Header::default(),
            payload: Some(payload.to_vec()),
            signature: Vec::new(),
        }))
    }

    /// What is to be signed.
    pub(super) fn message(&self) -> Vec<u8> {
        self.0.tbs_data(&[])
    }

    /// The whole.
    pub(super) fn finish(
        self,
        chain: &Chain,
        signature: &[u8],
        timestamp: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let mut document = self.0;
        let certificates = chain.certificates().iter();
        let certificates = certificates.map(|one| Value::Bytes(one.as_der().to_vec()));
        let rest = &mut document.unprotected.rest;
        rest.push((Label::Int(X5CHAIN), Value::Array(certificates.collect())));
        let text = |name: &str| Label::Text(name.to_owned());
        if let Some(token) = timestamp {
            rest.push((text(TIMESTAMP), Value::Bytes(token.to_vec())));
        }
        rest.push((text(AGENT), Value::Text(OUR_AGENT.to_owned())));
        document.signature = signature.to_vec();
        document.to_tagged_vec().ok()
    }
}
