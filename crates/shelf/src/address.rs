//! Where a shelf is. Everything ambient (the environment, files with credentials)
//! has been looked up by whoever makes an address.

use std::fmt;
use std::path::PathBuf;

use oci::{Digest, Reference, Tag};
use registry::Secret;

/// What documents and blobs are called below in a bucket where nobody says otherwise.
pub const BLOBS_PREFIX: &str = "blobs/";
/// As [`BLOBS_PREFIX`], for documents.
pub const DOCUMENTS_PREFIX: &str = "manifests/";
/// The name of a shelf in a bucket that is not given one.
pub const NAME: &str = "kiln";

/// Where a shelf is. Two addresses that differ have their documents apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A tag of a repository. What else belongs to it is under tags made from that one.
    Registry(Reference),
    /// A directory of this machine.
    Directory(DirectoryAddress),
    /// A bucket that speaks the protocol of Amazon S3.
    S3(S3Address),
    /// A bucket of Google Cloud Storage.
    Gcs(GcsAddress),
    /// A container of Azure Blob Storage.
    Azblob(AzblobAddress),
    /// The cache of GitHub Actions, or a service that speaks its protocol.
    Gha(GhaAddress),
}

/// An image layout (image specification, "OCI Image Layout Specification").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryAddress {
    /// The directory; made when something is put there.
    pub path: PathBuf,
    /// The name in its `index.json`.
    pub tag: Tag,
    /// Read exactly this, whatever the name stands for now.
    pub digest: Option<Digest>,
}

/// How objects of a bucket are called: `PREFIX BLOBS_PREFIX DIGEST`,
/// `PREFIX DOCUMENTS_PREFIX NAME …`, put together without a sign in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPaths {
    /// In front of everything.
    pub prefix: String,
    /// In front of blobs.
    pub blobs_prefix: String,
    /// In front of documents.
    pub documents_prefix: String,
    /// Tells the documents of several shelves in one bucket apart; they share their blobs.
    pub name: String,
}

/// A bucket that speaks the protocol of Amazon S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Address {
    /// The bucket.
    pub bucket: String,
    /// Its region; the service's own answer counts where none is given.
    pub region: Option<String>,
    /// The names of objects.
    pub paths: BucketPaths,
    /// Another service than Amazon's.
    pub endpoint_url: Option<String>,
    /// Put the bucket into the path and not into the host name.
    pub use_path_style: bool,
    /// Who we are; without, requests are not signed.
    pub credentials: Option<S3Credentials>,
}

/// Who we are for S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Credentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: Secret,
    /// What comes with a key for a short time.
    pub session_token: Option<Secret>,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsAddress {
    /// The bucket.
    pub bucket: String,
    /// The names of objects.
    pub paths: BucketPaths,
    /// Another service than Google's.
    pub endpoint_url: Option<String>,
    /// A file with the credentials of an account, as in `GOOGLE_APPLICATION_CREDENTIALS`.
    pub credentials_file: Option<PathBuf>,
    /// A token to be shown as it is.
    pub token: Option<Secret>,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzblobAddress {
    /// Such as `https://ACCOUNT.blob.core.windows.net`.
    pub account_url: String,
    /// The container.
    pub container: String,
    /// The names of objects.
    pub paths: BucketPaths,
    /// The key of the account.
    pub secret_access_key: Option<Secret>,
}

/// The cache of GitHub Actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GhaAddress {
    /// Tells shelves of one repository apart.
    pub scope: String,
    /// The first version of the service, as in `ACTIONS_CACHE_URL`.
    pub url: Option<String>,
    /// The second, as in `ACTIONS_RESULTS_URL`; preferred.
    pub url_v2: Option<String>,
    /// As in `ACTIONS_RUNTIME_TOKEN`.
    pub token: Option<Secret>,
}

impl fmt::Display for Address {
    /// How people know it: without credentials, and without what only says how it is used.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(formatter, "{reference}"),
            Self::Directory(address) => {
                write!(formatter, "{}:{}", address.path.display(), address.tag)?;
                match &address.digest {
                    Some(digest) => write!(formatter, "@{digest}"),
                    None => Ok(()),
                }
            }
            Self::S3(address) => {
                write!(formatter, "s3://{}/{}", address.bucket, address.paths)
            }
            Self::Gcs(address) => {
                write!(formatter, "gs://{}/{}", address.bucket, address.paths)
            }
            Self::Azblob(address) => {
                // A signature may be in the query.
                let url = address.account_url.split(['?', '#']).next().unwrap_or("");
                let url = url.trim_end_matches('/');
                write!(formatter, "{url}/{}/{}", address.container, address.paths)
            }
            Self::Gha(address) => write!(formatter, "gha:{}", address.scope),
        }
    }
}

impl fmt::Display for BucketPaths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.prefix, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> BucketPaths {
        BucketPaths {
            prefix: "ci/".to_owned(),
            blobs_prefix: BLOBS_PREFIX.to_owned(),
            documents_prefix: DOCUMENTS_PREFIX.to_owned(),
            name: NAME.to_owned(),
        }
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        let check = |address: Address, expected: &str| {
            assert_eq!(address.to_string(), expected);
            assert!(!format!("{address:?}").contains("hunter2"));
        };
        let secret = || Secret::new("hunter2");
        check(
            Address::Registry("r.example/app:cache".parse().unwrap()),
            "r.example/app:cache",
        );
        check(
            Address::Directory(DirectoryAddress {
                path: PathBuf::from("/c"),
                tag: "latest".parse().unwrap(),
                digest: None,
            }),
            "/c:latest",
        );
        check(
            Address::S3(S3Address {
                bucket: "b".to_owned(),
                region: None,
                paths: paths(),
                endpoint_url: None,
                use_path_style: false,
                credentials: Some(S3Credentials {
                    access_key_id: "id".to_owned(),
                    secret_access_key: secret(),
                    session_token: Some(secret()),
                }),
            }),
            "s3://b/ci/kiln",
        );
        check(
            Address::Gcs(GcsAddress {
                bucket: "b".to_owned(),
                paths: paths(),
                endpoint_url: None,
                credentials_file: None,
                token: Some(secret()),
            }),
            "gs://b/ci/kiln",
        );
        check(
            Address::Azblob(AzblobAddress {
                account_url: "https://a.example/".to_owned(),
                container: "c".to_owned(),
                paths: paths(),
                secret_access_key: Some(secret()),
            }),
            "https://a.example/c/ci/kiln",
        );
        check(
            Address::Gha(GhaAddress {
                scope: "main".to_owned(),
                url: None,
                url_v2: None,
                token: Some(secret()),
            }),
            "gha:main",
        );
    }
}
