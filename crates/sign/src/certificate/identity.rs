//! Who may have signed: `x509.subject: C=DE, O=Example, CN=…` (trust store and trust policy
//! specification, "Trusted Identities Constraints").

use std::fmt;

use x509_cert::attr::AttributeTypeAndValue;

use super::Certificate;

/// The most bytes of an identity that is read.
const IDENTITY_BYTES_MAX: usize = 4096;

/// Attributes that the subject of a certificate must have. Others may be there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    attributes: Vec<(String, String)>,
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Another prefix, or none.
    #[error("`{0}` does not begin with `x509.subject:`")]
    Prefix(String),
    /// Nothing behind the prefix, or a part that is not `NAME=VALUE`.
    #[error("`{0}` is not of the form `x509.subject: C=COUNTRY, ST=STATE, O=ORGANISATION`")]
    Form(String),
    /// A name that subjects do not have.
    #[error("`{0}` is not the name of an attribute; C, ST, L, O, OU and CN are some")]
    Name(String),
    /// A name twice.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// Too long.
    #[error("it is longer than {IDENTITY_BYTES_MAX} bytes")]
    TooLong,
}

/// Names of attributes (RFC 4514, section 3, and RFC 4519).
const NAMES: &[(&str, &str)] = &[
    ("CN", "2.5.4.3"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("POSTALCODE", "2.5.4.17"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
];

impl Identity {
    /// Reads an identity.
    ///
    /// # Errors
    ///
    /// When it is not of the form.
    pub fn read(text: &str) -> Result<Self, IdentityError> {
        if text.len() > IDENTITY_BYTES_MAX {
            return Err(IdentityError::TooLong);
        }
        let names = text
            .strip_prefix("x509.subject:")
            .ok_or_else(|| IdentityError::Prefix(text.to_owned()))?;
        let form = || IdentityError::Form(text.to_owned());
        let mut attributes: Vec<(String, String)> = Vec::new();
        for part in split(names).ok_or_else(form)? {
            let (name, value) = part.split_once('=').ok_or_else(form)?;
            let name = match name.trim().to_ascii_uppercase() {
                name if name == "S" => "ST".to_owned(),
                name => name,
            };
            let value = unescape(value);
            if value.is_empty() {
                return Err(form());
            }
            if !NAMES.iter().any(|(known, _)| *known == name) {
                return Err(IdentityError::Name(name));
            }
            if attributes.iter().any(|(other, _)| *other == name) {
                return Err(IdentityError::Twice(name));
            }
            attributes.push((name, value));
        }
        Ok(Self { attributes })
    }

    /// Whether it has an attribute.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.attributes.iter().any(|(known, _)| known == name)
    }

    /// Whether every subject that fits one of them may fit the other too, because one says the same
    /// as the other and no less.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let within =
            |a: &Self, b: &Self| a.attributes.iter().all(|pair| b.attributes.contains(pair));
        within(self, other) || within(other, self)
    }

    /// Whether the subject of a certificate has all of the attributes, letter for letter, and each
    /// of them once: of two names one may be whatever its holder liked.
    pub fn fits(&self, certificate: &Certificate) -> bool {
        let subject = certificate.tbs().subject();
        self.attributes.iter().all(|(name, value)| {
            let id = NAMES.iter().find(|(known, _)| known == name);
            let mut named = subject
                .iter()
                .filter(|attribute| id.is_some_and(|(_, id)| attribute.oid.to_string() == *id));
            let first = named.next().and_then(text);
            first.as_deref() == Some(value) && named.next().is_none()
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x509.subject: ")?;
        for (index, (name, value)) in self.attributes.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}=")?;
            let last = value.chars().count().saturating_sub(1);
            for (index, letter) in value.chars().enumerate() {
                let blank = letter == ' ' && (index == 0 || index == last);
                if blank || matches!(letter, ',' | ';' | '\\' | '+') {
                    f.write_str("\\")?;
                }
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// The value of an attribute, whichever kind of text it is.
fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    use x509_cert::der::{Tag, Tagged as _};
    let bytes = attribute.value.value();
    match attribute.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        // As everybody reads it: Latin-1.
        Tag::TeletexString => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units = bytes.chunks_exact(2);
            if !units.remainder().is_empty() {
                return None;
            }
            let units = units.map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// Parts between commas that are not escaped. Several values at one place (`+`) are nothing that a
/// policy has.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            '+' | ';' => return None,
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!escaped).then_some(parts)
}

/// Blanks at the ends go, unless they are escaped.
fn unescape(text: &str) -> String {
    let mut value = String::new();
    let mut escaped = false;
    // How much of the value must stay, whatever it ends with.
    let mut kept = 0;
    for letter in text.trim_start().chars() {
        if escaped {
            value.push(letter);
            kept = value.len();
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else {
            value.push(letter);
        }
    }
    let trimmed = value.trim_end().len().max(kept);
    value.truncate(trimmed);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Certificate {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/chains/p256.pem");
        Certificate::read_all(&std::fs::read(path).unwrap())
            .unwrap()
            .remove(0)
    }

    #[test]
    fn subjects_fit_letter_for_letter() {
        let leaf = leaf();
        let check = |text: &str, expected: bool| {
            let identity = Identity::read(text).unwrap();
            assert_eq!(identity.fits(&leaf), expected, "{text}");
            assert_eq!(Identity::read(&identity.to_string()), Ok(identity));
        };
        check("x509.subject: C=DE, ST=BW, O=Kiln\\, Tests, CN=p256", true);
        check("x509.subject:CN=p256", true);
        check("x509.subject: cn = p256 ", true);
        check("x509.subject: S=BW", true);
        check("x509.subject: CN=P256", false);
        check("x509.subject: CN=p25", false);
        check("x509.subject: CN=p256\\ ", false);
        check("x509.subject: CN=p256, OU=x", false);
        check("x509.subject: O=Kiln", false);
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Identity::read(text).unwrap_err().to_string(), expected);
        };
        check("CN=a", "`CN=a` does not begin with `x509.subject:`");
        let form = |text: &str| {
            let form = "is not of the form `x509.subject: C=COUNTRY, ST=STATE, O=ORGANISATION`";
            check(text, &format!("`{text}` {form}"));
        };
        form("x509.subject:");
        form("x509.subject: CN=");
        form("x509.subject: CN=a,");
        form("x509.subject: CN=a\\");
        form("x509.subject: CN=a+OU=b");
        check("x509.subject: CN=a, cn=b", "`CN` is there twice");
        check(
            "x509.subject: XY=a",
            "`XY` is not the name of an attribute; C, ST, L, O, OU and CN are some",
        );
    }
}
