//! A token: CMS (RFC 5652) around what an authority says (RFC 3161, 2.4.2), checked to the letter.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use webpki::{EndEntityCert, KeyUsage};

use super::{Stamp, TOKEN_BYTES_MAX, hash_of, oid};
use crate::certificate::{Certificate, ChainError, Purpose, check_purpose, fits};
use crate::der::{Malformed, Reader, Tag, Value, write};
use crate::key::Hash;

/// The most certificates in a token.
const CERTIFICATES_MAX: usize = 20;
/// `id-kp-timeStamping`, as it is written within DER.
const TIMESTAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More bytes than a token can have.
    #[error("it is larger than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a token.
    #[error("it is not a token of RFC 3161: {0}")]
    Form(&'static str),
    /// Of something else.
    #[error("it is of another signature")]
    Imprint,
    /// An answer to another question.
    #[error("it answers another request")]
    Nonce,
    /// A hash or a signature that is not believed.
    #[error("its hash or signature algorithm is not accepted")]
    Algorithm,
    /// The certificate of the signer is not in it, or not the one that was meant.
    #[error("the certificate of its signer is missing, or is not the one that was signed with it")]
    Signer,
    /// Not a signature of it.
    #[error("it was changed, or is not by the key of its certificate")]
    Integrity,
    /// A certificate that must not sign timestamps.
    #[error("its certificate cannot be used")]
    Certificate(#[from] ChainError),
    /// Nobody we believe.
    #[error("its certificate, of `{signer}`, leads to no trusted timestamp authority: {reason}")]
    Untrusted {
        /// Who signed it.
        signer: String,
        /// What the library says.
        reason: String,
    },
}

impl From<Malformed> for TokenError {
    fn from(Malformed: Malformed) -> Self {
        Self::Form("its bytes are not DER of that form")
    }
}

/// What is in the token, in parts.
struct Token<'a> {
    /// TSTInfo, the bytes that are hashed.
    content: &'a [u8],
    certificates: Vec<Certificate>,
    signer: SignerInfo<'a>,
}

struct SignerInfo<'a> {
    identifier: Value<'a>,
    hash: Hash,
    /// `[0] IMPLICIT SET OF Attribute`.
    attributes: Value<'a>,
    algorithm: Value<'a>,
    signature: &'a [u8],
}

/// Checks that a trusted authority saw `message`, and says when. With `nonce`, that it is the answer
/// to that question.
pub(crate) fn verify(
    token: &[u8],
    message: &[u8],
    nonce: Option<&[u8]>,
    roots: &[Certificate],
) -> Result<Stamp, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLarge);
    }
    let token = parse(token)?;
    let leaf = signer(&token)?;
    check_attributes(&token, leaf)?;
    check_signature(&token.signer, leaf)?;
    let stamp = check_statement(token.content, message, nonce)?;
    check_purpose(leaf, Purpose::Timestamping)?;
    check_chain(leaf, &token.certificates, roots, stamp.at)?;
    Ok(stamp)
}

fn parse(bytes: &[u8]) -> Result<Token<'_>, TokenError> {
    let mut outer = Reader::new(bytes);
    let mut info = outer.read(Tag::SEQUENCE)?.reader();
    outer.finish()?;
    if info.read(Tag::OID)?.content != oid::SIGNED_DATA {
        return Err(TokenError::Form("it is not signed data"));
    }
    let mut wrapped = info.read(Tag::constructed(0))?.reader();
    let mut fields = wrapped.read(Tag::SEQUENCE)?.reader();
    fields.read(Tag::INTEGER)?;
    fields.read(Tag::SET)?;
    let mut inner = fields.read(Tag::SEQUENCE)?.reader();
    if inner.read(Tag::OID)?.content != oid::TST_INFO {
        return Err(TokenError::Form("what is signed is not a timestamp"));
    }
    let mut content = inner.read(Tag::constructed(0))?.reader();
    let content = content.read(Tag::OCTET_STRING)?.content;
    let mut certificates = Vec::new();
    if let Some(set) = fields.optional(Tag::constructed(0))? {
        let mut set = set.reader();
        while !set.is_empty() {
            let value = set.any()?;
            // Other kinds than X.509 are of no use here.
            if value.tag == Tag::SEQUENCE {
                if certificates.len() == CERTIFICATES_MAX {
                    return Err(TokenError::Form("it has too many certificates"));
                }
                certificates.push(Certificate::from_der(value.whole)?);
            }
        }
    }
    fields.optional(Tag::constructed(1))?;
    let mut signers = fields.read(Tag::SET)?.reader();
    let signer = signer_info(signers.read(Tag::SEQUENCE)?)?;
    // RFC 3161, 2.4.2: the authority's signature and no other.
    if !signers.is_empty() {
        return Err(TokenError::Form("it has more than one signature"));
    }
    Ok(Token {
        content,
        certificates,
        signer,
    })
}

fn signer_info(value: Value<'_>) -> Result<SignerInfo<'_>, TokenError> {
    let mut fields = value.reader();
    fields.read(Tag::INTEGER)?;
    let identifier = fields.any()?;
    let digest = fields.read(Tag::SEQUENCE)?.reader().read(Tag::OID)?.content;
    let attributes = fields.optional(Tag::constructed(0))?;
    let attributes = attributes.ok_or(TokenError::Form("it has no signed attributes"))?;
    let algorithm = fields.read(Tag::SEQUENCE)?;
    let signature = fields.read(Tag::OCTET_STRING)?.content;
    Ok(SignerInfo {
        identifier,
        hash: hash_of(digest).ok_or(TokenError::Algorithm)?,
        attributes,
        algorithm,
        signature,
    })
}

/// The certificate that the signature names.
fn signer<'t>(token: &'t Token<'_>) -> Result<&'t Certificate, TokenError> {
    use x509_cert::der::Encode as _;
    use x509_cert::ext::pkix::SubjectKeyIdentifier;
    let identifier = &token.signer.identifier;
    let named = |certificate: &&Certificate| {
        let tbs = certificate.tbs();
        if identifier.tag == Tag::primitive(0) {
            let found = tbs.get_extension::<SubjectKeyIdentifier>();
            return matches!(found, Ok(Some((_, id))) if id.0.as_bytes() == identifier.content);
        }
        let (Ok(issuer), Ok(serial)) = (tbs.issuer().to_der(), tbs.serial_number().to_der()) else {
            return false;
        };
        identifier.tag == Tag::SEQUENCE && identifier.content == [issuer, serial].concat()
    };
    token
        .certificates
        .iter()
        .find(named)
        .ok_or(TokenError::Signer)
}

/// The attributes tie together what was said, who said it, and the signature.
fn check_attributes(token: &Token<'_>, leaf: &Certificate) -> Result<(), TokenError> {
    let twice = TokenError::Form("a signed attribute is there twice");
    let (mut kind, mut digest, mut certificate) = (None, None, None);
    let mut attributes = token.signer.attributes.reader();
    while !attributes.is_empty() {
        let mut attribute = attributes.read(Tag::SEQUENCE)?.reader();
        let name = attribute.read(Tag::OID)?.content;
        let mut values = attribute.read(Tag::SET)?.reader();
        let place = match name {
            oid::CONTENT_TYPE => &mut kind,
            oid::MESSAGE_DIGEST => &mut digest,
            oid::SIGNING_CERTIFICATE if certificate.is_some() => continue,
            oid::SIGNING_CERTIFICATE | oid::SIGNING_CERTIFICATE_V2 => {
                let value = values.read(Tag::SEQUENCE)?;
                certificate = Some((name == oid::SIGNING_CERTIFICATE_V2, value));
                continue;
            }
            _ => continue,
        };
        if place.replace(values.any()?).is_some() || !values.is_empty() {
            return Err(twice);
        }
    }
    if kind.is_none_or(|kind| kind.tag != Tag::OID || kind.content != oid::TST_INFO) {
        return Err(TokenError::Form(
            "its signed attributes are of another content",
        ));
    }
    let expected = token.signer.hash.of(token.content);
    if digest.is_none_or(|digest| digest.content != expected) {
        return Err(TokenError::Integrity);
    }
    let (second, value) = certificate.ok_or(TokenError::Signer)?;
    check_signing_certificate(second, value, leaf)
}

/// ESSCertID (RFC 2634, with SHA-1) or ESSCertIDv2 (RFC 5035): the first is the signer's.
fn check_signing_certificate(
    second: bool,
    value: Value<'_>,
    leaf: &Certificate,
) -> Result<(), TokenError> {
    let mut list = value.reader().read(Tag::SEQUENCE)?.reader();
    let mut id = list.read(Tag::SEQUENCE)?.reader();
    let digest = |algorithm| aws_lc_rs::digest::digest(algorithm, leaf.as_der());
    let expected = if second {
        let hash = match id.optional(Tag::SEQUENCE)? {
            None => Hash::Sha256,
            Some(algorithm) => {
                let name = algorithm.reader().read(Tag::OID)?.content;
                hash_of(name).ok_or(TokenError::Algorithm)?
            }
        };
        digest(hash.algorithm())
    } else {
        digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY)
    };
    if id.read(Tag::OCTET_STRING)?.content == expected.as_ref() {
        Ok(())
    } else {
        Err(TokenError::Signer)
    }
}

fn check_signature(signer: &SignerInfo<'_>, leaf: &Certificate) -> Result<(), TokenError> {
    // RFC 5652, 5.4: signed as a set, whatever the tag says in place.
    let message = write(Tag::SET, &[signer.attributes.content]);
    let name = signer.algorithm.reader().read(Tag::OID)?.content;
    // Some write the key's algorithm alone; the hash is then the one of the attributes.
    let algorithm = if name == oid::RSA {
        let combined = match signer.hash {
            Hash::Sha256 => oid::RSA_SHA256,
            Hash::Sha384 => oid::RSA_SHA384,
            Hash::Sha512 => oid::RSA_SHA512,
        };
        [write(Tag::OID, &[combined]), write(Tag::NULL, &[])].concat()
    } else {
        signer.algorithm.content.to_vec()
    };
    if leaf.public_key().is_err() {
        return Err(TokenError::Algorithm);
    }
    if fits(leaf, &algorithm, &message, signer.signature) {
        Ok(())
    } else {
        Err(TokenError::Integrity)
    }
}

/// TSTInfo.
fn check_statement(
    content: &[u8],
    message: &[u8],
    nonce: Option<&[u8]>,
) -> Result<Stamp, TokenError> {
    let mut outer = Reader::new(content);
    let mut fields = outer.read(Tag::SEQUENCE)?.reader();
    outer.finish()?;
    if fields.read(Tag::INTEGER)?.small_number()? != 1 {
        return Err(TokenError::Form("its version is not 1"));
    }
    let policy = fields.read(Tag::OID)?.content;
    let mut imprint = fields.read(Tag::SEQUENCE)?.reader();
    let hash = imprint
        .read(Tag::SEQUENCE)?
        .reader()
        .read(Tag::OID)?
        .content;
    let hash = hash_of(hash).ok_or(TokenError::Algorithm)?;
    if imprint.read(Tag::OCTET_STRING)?.content != hash.of(message) {
        return Err(TokenError::Imprint);
    }
    fields.read(Tag::INTEGER)?;
    let at = time(fields.read(Tag::GENERALIZED_TIME)?.content)?;
    let accuracy = match fields.optional(Tag::SEQUENCE)? {
        Some(value) => accuracy(value)?,
        None if policy == oid::BASELINE_POLICY => SignedDuration::from_secs(1),
        None => SignedDuration::ZERO,
    };
    fields.optional(Tag::BOOLEAN)?;
    let answered = fields.optional(Tag::INTEGER)?;
    if let Some(nonce) = nonce
        && answered.is_none_or(|answered| answered.content != nonce)
    {
        return Err(TokenError::Nonce);
    }
    Ok(Stamp { at, accuracy })
}

/// `YYYYMMDDhhmmss[.f…]Z`
fn time(bytes: &[u8]) -> Result<Timestamp, TokenError> {
    let wrong = || TokenError::Form("its time is not one");
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let text = text.strip_suffix('Z').ok_or_else(wrong)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| whole[from..to].parse::<i16>().map_err(|_| wrong());
    let small = |from| part(from, from + 2).map(|part| i8::try_from(part).unwrap_or(i8::MAX));
    let nanoseconds = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    let time = DateTime::new(
        part(0, 4)?,
        small(4)?,
        small(6)?,
        small(8)?,
        small(10)?,
        small(12)?,
        nanoseconds,
    );
    let time = time.map_err(|_| wrong())?;
    let zoned = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

fn accuracy(value: Value<'_>) -> Result<SignedDuration, TokenError> {
    let mut fields = value.reader();
    let seconds = fields.optional(Tag::INTEGER)?;
    let milliseconds = fields.optional(Tag::primitive(0))?;
    let microseconds = fields.optional(Tag::primitive(1))?;
    let number = |value: Option<Value<'_>>, most: u64| match value {
        None => Ok(0),
        Some(value) => match value.small_number()? {
            number if number <= most => Ok(i64::try_from(number).unwrap_or(0)),
            _ => Err(TokenError::Form("its accuracy is not one")),
        },
    };
    // Beyond a day, a time says nothing.
    Ok(SignedDuration::from_secs(number(seconds, 86_400)?)
        + SignedDuration::from_millis(number(milliseconds, 999)?)
        + SignedDuration::from_micros(number(microseconds, 999)?))
}

/// The path to a trusted authority, at the time that it vouches for.
fn check_chain(
    leaf: &Certificate,
    others: &[Certificate],
    roots: &[Certificate],
    at: Timestamp,
) -> Result<(), TokenError> {
    let untrusted = |reason: String| TokenError::Untrusted {
        signer: leaf.subject(),
        reason,
    };
    let ders = |certificates: &[Certificate]| {
        let ders = certificates.iter();
        let ders = ders.map(|one| rustls_pki_types::CertificateDer::from(one.as_der().to_vec()));
        ders.collect::<Vec<_>>()
    };
    let roots = ders(roots);
    let anchors = roots.iter().map(webpki::anchor_from_trusted_cert);
    let anchors: Result<Vec<_>, _> = anchors.collect();
    let anchors = anchors.map_err(|error| untrusted(error.to_string()))?;
    let others = ders(others);
    let der = rustls_pki_types::CertificateDer::from(leaf.as_der());
    let end = EndEntityCert::try_from(&der).map_err(|error| untrusted(error.to_string()))?;
    let since = u64::try_from(at.as_second()).unwrap_or(0);
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(since));
    end.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &others,
        time,
        KeyUsage::required(TIMESTAMPING),
        None,
        None,
    )
    .map(drop)
    .map_err(|error| untrusted(error.to_string()))
}
