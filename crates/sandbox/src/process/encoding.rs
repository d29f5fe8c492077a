//! Bytes as text whose characters are U+0000 to U+00FF: a process's arguments, environment and
//! paths need not be UTF-8, JSON must be, and a list of numbers would be four times as long.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

struct Text(Vec<u8>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(
            &self
                .0
                .iter()
                .map(|&byte| char::from(byte))
                .collect::<String>(),
        )
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        bytes
            .map(Self)
            .map_err(|_| D::Error::custom("a character above U+00FF in encoded bytes"))
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        Self::from_vec(text.0)
    }
}

pub(crate) mod bytes {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(value: &[u8], to: S) -> Result<S::Ok, S::Error> {
        Text(value.to_vec()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Text::deserialize(from).map(|text| text.0)
    }
}

pub(crate) mod path {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::{Deserialize, Deserializer, Serialize, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(value: &Path, to: S) -> Result<S::Ok, S::Error> {
        Text::from(value.as_os_str()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Text::deserialize(from).map(|text| PathBuf::from(OsString::from(text)))
    }
}

pub(crate) mod optional_path {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::{Deserialize, Deserializer, Serialize, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let text = value.as_ref().map(|path| Text::from(path.as_os_str()));
        text.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = Option::<Text>::deserialize(from)?;
        Ok(text.map(|text| PathBuf::from(OsString::from(text))))
    }
}

pub(crate) mod paths {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::{Deserialize, Deserializer, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(value: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|path| Text::from(path.as_os_str())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let texts = Vec::<Text>::deserialize(from)?;
        Ok(texts
            .into_iter()
            .map(|text| PathBuf::from(OsString::from(text)))
            .collect())
    }
}

pub(crate) mod texts {
    use std::ffi::OsString;

    use super::{Deserialize, Deserializer, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(value: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|text| Text::from(text.as_os_str())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<OsString>, D::Error> {
        let texts = Vec::<Text>::deserialize(from)?;
        Ok(texts.into_iter().map(OsString::from).collect())
    }
}

pub(crate) mod pairs {
    use std::ffi::OsString;

    use super::{Deserialize, Deserializer, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(
        value: &[(OsString, OsString)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|(name, content)| {
            (
                Text::from(name.as_os_str()),
                Text::from(content.as_os_str()),
            )
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(OsString, OsString)>, D::Error> {
        let pairs = Vec::<(Text, Text)>::deserialize(from)?;
        Ok(pairs
            .into_iter()
            .map(|(name, content)| (name.into(), content.into()))
            .collect())
    }
}
