//! The secret file: a certificate and a key, each PEM within base64 within JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::certificate::{Certificate, CertificateError};
use crate::key::{KeyError, PEM_BYTES_MAX, PrivateKey};

/// Who we are at the service. Never shown.
#[derive(Clone)]
pub struct SignifyCredentials {
    /// Certificates and key, as TLS libraries take them.
    pem: Zeroizing<Vec<u8>>,
    leaf: Certificate,
}

/// What is wrong with the secret. Holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignifyCredentialsError {
    /// Too large.
    #[error("it is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON with the two keys.
    #[error("it is not JSON with `certData` and `privateKeyData`")]
    Form,
    /// Not base64.
    #[error("`{0}` is not base64")]
    NotBase64(&'static str),
    /// No certificate.
    #[error("`certData` has no certificates that can be used")]
    Certificate(#[source] CertificateError),
    /// No key.
    #[error("`privateKeyData` has no key that can be used")]
    Key(#[source] KeyError),
    /// Another key than the certificate's.
    #[error("the key is not the one of the certificate of `{0}`")]
    Mismatch(String),
    /// Over, or not begun.
    #[error("the certificate of `{subject}` holds from {from} until {until}, not at {at}")]
    NotValid {
        /// Whose.
        subject: String,
        /// From when.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// When it was to be used.
        at: Timestamp,
    },
}

/// What is in the file. Others read the rest of it (image-builder.md §14).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cert_data: Zeroizing<String>,
    private_key_data: Zeroizing<String>,
}

impl SignifyCredentials {
    /// Reads the secret and sees that it will do.
    ///
    /// # Errors
    ///
    /// When it will not.
    pub fn read(bytes: &[u8]) -> Result<Self, SignifyCredentialsError> {
        if bytes.len() > PEM_BYTES_MAX {
            return Err(SignifyCredentialsError::TooLarge);
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|_| SignifyCredentialsError::Form)?;
        let decode = |name, text: &str| {
            let text: Zeroizing<String> = Zeroizing::new(
                text.chars()
                    .filter(|letter| !letter.is_whitespace())
                    .collect(),
            );
            match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) => Ok(Zeroizing::new(bytes)),
                Err(_) => Err(SignifyCredentialsError::NotBase64(name)),
            }
        };
        let certificates = decode("certData", &document.cert_data)?;
        let key_pem = decode("privateKeyData", &document.private_key_data)?;
        let certificates =
            Certificate::read_all(&certificates).map_err(SignifyCredentialsError::Certificate)?;
        let key = PrivateKey::read(&key_pem, None).map_err(SignifyCredentialsError::Key)?;
        // `read_all` gives at least one.
        let leaf = certificates[0].clone();
        if leaf
            .public_key()
            .map_or(true, |public| !public.same_as(key.public()))
        {
            return Err(SignifyCredentialsError::Mismatch(leaf.subject()));
        }
        // The certificates anew: TLS libraries need not know the lines between them.
        let mut pem = Zeroizing::new(Vec::new());
        for certificate in &certificates {
            let text = STANDARD.encode(certificate.as_der());
            pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
            for line in text.as_bytes().chunks(64) {
                pem.extend_from_slice(line);
                pem.push(b'\n');
            }
            pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
        }
        pem.extend_from_slice(&key_pem);
        Ok(Self { pem, leaf })
    }

    /// Certificates and key in PEM, for the client that is handed to [`super::Signify`].
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Says whether the certificate holds at a time.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn check(&self, at: Timestamp) -> Result<(), SignifyCredentialsError> {
        let (from, until) = self.leaf.validity();
        if at < from || at > until {
            return Err(SignifyCredentialsError::NotValid {
                subject: self.leaf.subject(),
                from,
                until,
                at,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for SignifyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignifyCredentials({}, …)", self.leaf.subject())
    }
}
