//! Addresses of shelves, in buildx's syntax for caches:
//!
//! ```text
//! NAME[:TAG]                 short for type=registry,ref=NAME[:TAG]
//! type=TYPE[,KEY=VALUE…]     fields are CSV
//! ```
//!
//! What an address does not say may be in the environment, under the names that the tools of
//! each service use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dockerfile::suggest::nearest;
use oci::{Compression, Digest, Reference, Tag};
use registry::Secret;
use shelf::{
    Address, AzblobAddress, BLOBS_PREFIX, BucketPaths, DOCUMENTS_PREFIX, DirectoryAddress,
    GcsAddress, GhaAddress, NAME, S3Address, S3Credentials,
};

use super::build::output::split_csv;
use crate::error::ProgramError;

/// The types that are places. `inline` is none.
const TYPES: [&str; 7] = ["registry", "local", "inline", "s3", "gcs", "azblob", "gha"];
/// The container that is used where none is named.
const CONTAINER: &str = "kiln-cache";

/// What is going to be done with a shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Things are taken from it.
    From,
    /// Things are put there.
    To,
}

/// Looks up a variable of the environment.
pub(crate) type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// The fields of one value of a flag. What is taken out has been understood, and
/// [`Fields::finish`] refuses the rest.
#[derive(Debug)]
pub(crate) struct Fields<'f> {
    flag: &'f str,
    text: &'f str,
    /// `type=`, one of [`TYPES`].
    pub(crate) kind: String,
    values: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<'f> Fields<'f> {
    /// Splits a value. Several where names of images stand side by side.
    pub(crate) fn read(flag: &'f str, text: &'f str) -> Result<Vec<Self>, ProgramError> {
        let wrong = |reason: &str| wrong(flag, text, reason);
        let fields = split_csv(text).ok_or_else(|| wrong("a quote is not closed"))?;
        let made = |kind: String, values| Self {
            flag,
            text,
            kind,
            values,
            known: vec!["type"],
        };
        if fields.iter().all(|field| !field.contains('=')) {
            if fields.iter().any(|field| field.trim().is_empty()) {
                return Err(wrong("the value is empty"));
            }
            let references = fields.into_iter().map(|field| {
                let values = BTreeMap::from([("ref".to_owned(), field.trim().to_owned())]);
                made("registry".to_owned(), values)
            });
            return Ok(references.collect());
        }
        let mut values = BTreeMap::new();
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(wrong(&format!(
                    "field `{field}` has no value: expected key=value"
                )));
            };
            let key = key.trim().to_ascii_lowercase();
            if values.insert(key.clone(), value.to_owned()).is_some() {
                return Err(wrong(&format!("field `{key}` is given twice")));
            }
        }
        let Some(kind) = values.remove("type") else {
            return Err(wrong("no type= is given"));
        };
        if !TYPES.contains(&kind.as_str()) {
            let help = match nearest(&kind, TYPES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", TYPES.join(", ")),
            };
            return Err(wrong(&format!("unknown type `{kind}`: {help}")));
        }
        Ok(vec![made(kind, values)])
    }

    /// Takes a field that is not empty.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_empty())
    }

    /// Takes a field that is true or false.
    pub(crate) fn take_flag(&mut self, key: &'static str) -> Result<Option<bool>, ProgramError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(self.wrong(&format!("{key}={other} is neither true nor false"))),
        }
    }

    /// Takes a field that is one of a few words.
    pub(crate) fn take_word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ProgramError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == value) {
            return Ok(Some(*meaning));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(&value, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        Err(self.wrong(&format!("unknown {key} `{value}`: {help}")))
    }

    /// Takes `compression=`.
    pub(crate) fn take_compression(&mut self) -> Result<Option<Compression>, ProgramError> {
        self.take_word(
            "compression",
            &[
                ("gzip", Compression::Gzip),
                ("zstd", Compression::Zstd),
                ("uncompressed", Compression::None),
            ],
        )
    }

    /// An error about this value.
    pub(crate) fn wrong(&self, reason: &str) -> ProgramError {
        wrong(self.flag, self.text, reason)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), ProgramError> {
        let Some(key) = self.values.keys().next() else {
            return Ok(());
        };
        let mut reason = format!("unknown field `{key}` for type={}", self.kind);
        if let Some(near) = nearest(key, self.known.iter().copied()) {
            reason.push_str(&format!(": did you mean `{near}`?"));
        }
        Err(self.wrong(&reason))
    }

    /// Takes the fields of an address; nothing for `type=inline`, which is in the image.
    pub(crate) fn address(
        &mut self,
        purpose: Purpose,
        variable: Variable<'_>,
    ) -> Result<Option<Address>, ProgramError> {
        Ok(Some(match self.kind.as_str() {
            "inline" => return Ok(None),
            "local" => Address::Directory(self.directory(purpose)?),
            "s3" => Address::S3(self.s3(variable)?),
            "gcs" => Address::Gcs(self.gcs(variable)?),
            "azblob" => Address::Azblob(self.azblob(variable)?),
            "gha" => Address::Gha(self.gha(variable)),
            _ => Address::Registry(self.reference(purpose)?),
        }))
    }

    fn reference(&mut self, purpose: Purpose) -> Result<Reference, ProgramError> {
        let Some(text) = self.take("ref") else {
            return Err(self.missing("ref"));
        };
        let reference: Reference = text
            .parse()
            .map_err(|error: oci::ReferenceError| self.wrong(&error.to_string()))?;
        if purpose == Purpose::To && reference.digest().is_some() {
            return Err(self.wrong("nothing can be put under a digest: name a tag"));
        }
        Ok(reference)
    }

    fn directory(&mut self, purpose: Purpose) -> Result<DirectoryAddress, ProgramError> {
        let (key, other) = match purpose {
            Purpose::From => ("src", "dest"),
            Purpose::To => ("dest", "src"),
        };
        let Some(path) = self.take(key) else {
            if self.values.contains_key(other) {
                return Err(self.wrong(&format!(
                    "type=local needs a {key}=, and {other}= is for the other direction"
                )));
            }
            return Err(self.missing(key));
        };
        let tag = self.take("tag").unwrap_or_else(|| "latest".to_owned());
        let tag: Tag = tag
            .parse()
            .map_err(|error: oci::ReferenceError| self.wrong(&error.to_string()))?;
        let digest = match purpose {
            Purpose::From => self.take("digest"),
            Purpose::To => None,
        };
        let digest: Option<Digest> = digest
            .map(|digest| digest.parse())
            .transpose()
            .map_err(|error: oci::DigestError| self.wrong(&error.to_string()))?;
        Ok(DirectoryAddress {
            path: PathBuf::from(path),
            tag,
            digest,
        })
    }

    fn paths(&mut self) -> BucketPaths {
        let mut take = |key, default: &str| self.take(key).unwrap_or_else(|| default.to_owned());
        BucketPaths {
            prefix: take("prefix", ""),
            blobs_prefix: take("blobs_prefix", BLOBS_PREFIX),
            documents_prefix: take("manifests_prefix", DOCUMENTS_PREFIX),
            name: take("name", NAME),
        }
    }

    fn take_needed(
        &mut self,
        key: &'static str,
        variables: &[&str],
        variable: Variable<'_>,
    ) -> Result<String, ProgramError> {
        match self.take(key).or_else(|| first(variables, variable)) {
            Some(value) => Ok(value),
            None => Err(self.missing(key)),
        }
    }

    /// An error about a field that has to be there, and may be under a name that is almost its.
    fn missing(&self, key: &str) -> ProgramError {
        let mut others = self.values.keys();
        let slip = others.find(|other| nearest(other, [key]).is_some());
        self.wrong(&match slip {
            Some(slip) => format!("unknown field `{slip}`: did you mean `{key}`?"),
            None => format!("type={} needs a {key}=", self.kind),
        })
    }

    fn s3(&mut self, variable: Variable<'_>) -> Result<S3Address, ProgramError> {
        let bucket = self.take_needed("bucket", &["AWS_BUCKET"], variable)?;
        let region = self.take("region");
        let endpoint_url = self.take("endpoint_url");
        let use_path_style = self.take_flag("use_path_style")?.unwrap_or(false);
        let paths = self.paths();
        // Keys belong together: those of one place are not mixed with those of another.
        let given = (
            self.take("access_key_id"),
            self.take("secret_access_key"),
            self.take("session_token"),
        );
        let keys = match given {
            (None, None, None) => (
                first(&["AWS_ACCESS_KEY_ID"], variable),
                first(&["AWS_SECRET_ACCESS_KEY"], variable),
                first(&["AWS_SESSION_TOKEN"], variable),
            ),
            (Some(_), Some(_), _) => given,
            _ => {
                return Err(self.wrong("access_key_id= and secret_access_key= are given together"));
            }
        };
        let credentials = match keys {
            (Some(access_key_id), Some(secret_access_key), session_token) => Some(S3Credentials {
                access_key_id,
                secret_access_key: Secret::new(secret_access_key),
                session_token: session_token.map(Secret::new),
            }),
            _ => None,
        };
        Ok(S3Address {
            bucket,
            region: region.or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"], variable)),
            paths,
            endpoint_url: endpoint_url
                .or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], variable)),
            use_path_style,
            credentials,
        })
    }

    fn gcs(&mut self, variable: Variable<'_>) -> Result<GcsAddress, ProgramError> {
        Ok(GcsAddress {
            bucket: self.take_needed("bucket", &[], variable)?,
            paths: self.paths(),
            endpoint_url: self.take("endpoint_url"),
            credentials_file: self
                .take("credentials_file")
                .or_else(|| first(&["GOOGLE_APPLICATION_CREDENTIALS"], variable))
                .map(PathBuf::from),
            token: self.take("token").map(Secret::new),
        })
    }

    fn azblob(&mut self, variable: Variable<'_>) -> Result<AzblobAddress, ProgramError> {
        let url = ["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"];
        let container = ["BUILDKIT_AZURE_STORAGE_CONTAINER"];
        Ok(AzblobAddress {
            account_url: self.take_needed("account_url", &url, variable)?,
            container: self
                .take("container")
                .or_else(|| first(&container, variable))
                .unwrap_or_else(|| CONTAINER.to_owned()),
            paths: self.paths(),
            secret_access_key: self.take("secret_access_key").map(Secret::new),
        })
    }

    /// Outside of a workflow there is nothing in the environment: the shelf says so, because a
    /// build is not to fail for that.
    fn gha(&mut self, variable: Variable<'_>) -> GhaAddress {
        let mut take = |key, name: &str| self.take(key).or_else(|| first(&[name], variable));
        let url = take("url", "ACTIONS_CACHE_URL");
        let url_v2 = take("url_v2", "ACTIONS_RESULTS_URL");
        let token = take("token", "ACTIONS_RUNTIME_TOKEN");
        GhaAddress {
            scope: self.take("scope").unwrap_or_else(|| NAME.to_owned()),
            url,
            url_v2,
            token: token.map(Secret::new),
        }
    }
}

/// The first variable that is set and not empty.
fn first(names: &[&str], variable: Variable<'_>) -> Option<String> {
    let mut values = names.iter().filter_map(|name| variable(name));
    values.find(|value| !value.is_empty())
}

fn wrong(flag: &str, text: &str, reason: &str) -> ProgramError {
    ProgramError::input(format!("{flag} {}: {reason}", without_secrets(text)))
}

/// The fields that are shown in messages. Logs keep keys and tokens for ever, also those whose
/// names are misspelt.
const SHOWN: [&str; 26] = [
    "account_url",
    "blobs_prefix",
    "bucket",
    "compression",
    "compression-level",
    "container",
    "credentials_file",
    "dest",
    "digest",
    "endpoint_url",
    "force-compression",
    "ignore-error",
    "image-manifest",
    "manifests_prefix",
    "mode",
    "name",
    "oci-mediatypes",
    "prefix",
    "ref",
    "region",
    "scope",
    "src",
    "tag",
    "type",
    "url",
    "use_path_style",
];

/// A value as it may be shown.
fn without_secrets(text: &str) -> String {
    let Some(fields) = split_csv(text) else {
        return "…".to_owned();
    };
    let shown = fields.into_iter().map(|field| match field.split_once('=') {
        Some((key, _)) if !SHOWN.contains(&key.trim().to_ascii_lowercase().as_str()) => {
            format!("{key}=…")
        }
        Some(_) | None => field,
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &str,
        purpose: Purpose,
        variables: &[(&str, &str)],
    ) -> Result<Vec<Option<Address>>, ProgramError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Fields::read("--cache-from", text)?
            .into_iter()
            .map(|mut fields| {
                let address = fields.address(purpose, &variable)?;
                fields.finish()?;
                Ok(address)
            })
            .collect()
    }

    fn check(text: &str, purpose: Purpose, variables: &[(&str, &str)], expected: &[&str]) {
        let addresses = read(text, purpose, variables).unwrap_or_else(|error| {
            panic!("{text}: {}", error.headline);
        });
        let shown: Vec<String> = addresses
            .iter()
            .map(|address| {
                address
                    .as_ref()
                    .map_or("inline".to_owned(), Address::to_string)
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    fn check_wrong(text: &str, purpose: Purpose, expected: &str) {
        let error = read(text, purpose, &[]).expect_err(text).headline;
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn places_are_read_as_buildx_reads_them() {
        use Purpose::{From, To};
        let tool = "docker.io/library/tool:latest";
        check("tool", From, &[], &[tool]);
        check("tool,r.example/a:b", From, &[], &[tool, "r.example/a:b"]);
        check(
            "type=registry,ref=r.example/a:b",
            To,
            &[],
            &["r.example/a:b"],
        );
        check("type=local,src=/c", From, &[], &["/c:latest"]);
        check("type=local,dest=/c,tag=t", To, &[], &["/c:t"]);
        check("type=inline", To, &[], &["inline"]);
        let s3 = "type=s3,bucket=b,region=r,prefix=p/,name=n,use_path_style=true,\
                  endpoint_url=http://127.0.0.1:9,access_key_id=i,secret_access_key=k,\
                  session_token=t";
        check(s3, To, &[], &["s3://b/p/n"]);
        check("type=s3", From, &[("AWS_BUCKET", "b")], &["s3://b/kiln"]);
        check("type=gcs,bucket=b", From, &[], &["gs://b/kiln"]);
        let account = ("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", "https://a.example");
        check(
            "type=azblob,name=n",
            From,
            &[account],
            &["https://a.example/kiln-cache/n"],
        );
        check("type=gha,scope=s", From, &[], &["gha:s"]);
    }

    #[test]
    fn keys_come_from_one_place() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_SESSION_TOKEN", "token"),
        ];
        let credentials = |text: &str| match &read(text, Purpose::To, &environment).unwrap()[..] {
            [Some(Address::S3(address))] => address.credentials.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        let ambient = credentials("type=s3,bucket=b");
        assert_eq!(ambient.access_key_id, "id");
        assert!(ambient.session_token.is_some());
        let given = credentials("type=s3,bucket=b,access_key_id=i,secret_access_key=k");
        assert_eq!(given.access_key_id, "i");
        assert_eq!(given.session_token, None);
    }

    #[test]
    fn wrong_addresses_say_why() {
        use Purpose::{From, To};
        check_wrong("", From, "the value is empty");
        check_wrong("a,,b", From, "the value is empty");
        check_wrong("ref=a", From, "no type= is given");
        check_wrong("type=registy,ref=a", From, "did you mean `registry`?");
        check_wrong("type=floppy", From, "known are registry, local");
        check_wrong("type=registry", From, "needs a ref=");
        check_wrong("type=registry,ref=A", From, "not an image reference");
        check_wrong("type=registry,reff=a,ref=b", From, "did you mean `ref`?");
        check_wrong("type=registry,ref=a,ref=b", From, "given twice");
        check_wrong(
            "type=local,dest=/c",
            From,
            "needs a src=, and dest= is for the other",
        );
        check_wrong(
            "type=local,src=/c",
            To,
            "needs a dest=, and src= is for the other",
        );
        check_wrong(
            "type=local,scr=/c",
            From,
            "unknown field `scr`: did you mean `src`?",
        );
        check_wrong("type=s3", From, "type=s3 needs a bucket=");
        check_wrong(
            "type=s3,bucket=b,use_path_style=maybe",
            From,
            "neither true nor false",
        );
        check_wrong(
            "type=s3,bucket=b,secret_access_key=hunter2",
            From,
            "are given together",
        );
        check_wrong("type=gha,tokn=hunter2", From, "did you mean `token`?");
        check_wrong(
            "type=gha,\"token=a,hunter2\",x=1",
            From,
            "unknown field `x`",
        );
        check_wrong("type=gha,\"token=hunter2", From, "a quote is not closed");
        check_wrong(
            "type=inline,ref=a",
            To,
            "unknown field `ref` for type=inline",
        );
        let digest = format!("type=registry,ref=a@sha256:{}", "0".repeat(64));
        check_wrong(&digest, To, "nothing can be put under a digest");
    }
}
