//! The calls.

use google::Google;
use oci::{Digest, Tag};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::wire::{Ask, Wire};
use crate::{ApiError, Drift, ENDPOINT, Place, Repository, Timing, Wanted};

const READER: &str = "roles/artifactregistry.reader";
const ADMIN: &str = "roles/artifactregistry.admin";

/// Speaks to Artifact Registry.
pub struct Client {
    wire: Wire,
}

/// What [`Client::ensure`] came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensured {
    /// What was done.
    pub outcome: Outcome,
    /// What is not as it should be, now.
    pub drift: Vec<Drift>,
    /// The repository, now.
    pub repository: Repository,
}

/// What was done about a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was there.
    Existed,
    /// It was there, and was changed.
    Mended,
}

/// An image, as the service describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageFacts {
    /// Its name with its digest.
    pub uri: String,
    /// All tags that point at it.
    pub tags: Vec<String>,
    /// Bytes, as a decimal number.
    pub image_size_bytes: String,
    /// RFC 3339.
    pub upload_time: String,
    /// RFC 3339.
    pub build_time: String,
    /// Of its manifest.
    pub media_type: String,
}

impl Client {
    /// A client. Nothing is asked yet. `endpoint` is where the service is, if not at
    /// [`ENDPOINT`].
    pub fn new(
        google: Google,
        http: reqwest::Client,
        endpoint: Option<String>,
        timing: Timing,
    ) -> Self {
        Self {
            wire: Wire {
                endpoint: endpoint.unwrap_or_else(|| ENDPOINT.to_owned()),
                google,
                http,
                timing,
            },
        }
    }

    /// The repository; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn get(&self, place: &Place) -> Result<Option<Repository>, ApiError> {
        let answer = self
            .wire
            .ask(&Ask {
                method: Method::GET,
                path: &place.resource(),
                body: None,
                action: &format!("show the repository {place}"),
                permission: "artifactregistry.repositories.get",
                role: READER,
            })
            .await?;
        answer.map(understand).transpose()
    }

    /// Makes the repository when it is missing, and says how it differs from what is wanted when it
    /// is there; with `mend`, changes what can be changed. Making one that somebody else makes at
    /// the same time is success.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn ensure(
        &self,
        place: &Place,
        wanted: &Wanted,
        mend: bool,
    ) -> Result<Ensured, ApiError> {
        let (outcome, mut repository) = match self.get(place).await? {
            Some(repository) => (Outcome::Existed, repository),
            None => {
                let made = self.create(place, wanted).await?;
                let there = self.get(place).await?;
                let there = there.ok_or_else(|| ApiError::Missing(place.to_string()))?;
                (made, there)
            }
        };
        let mut drift = wanted.drift(place, &repository);
        let fields: Vec<&str> = drift.iter().filter_map(|drift| drift.field).collect();
        if !mend || fields.is_empty() {
            return Ok(Ensured {
                outcome,
                drift,
                repository,
            });
        }
        let mut mask = fields;
        mask.sort_unstable();
        mask.dedup();
        let path = format!("{}?updateMask={}", place.resource(), mask.join(","));
        let body = Value::Object(wanted.fields(&repository));
        let answer = self
            .wire
            .ask(&Ask {
                method: Method::PATCH,
                path: &path,
                body: Some(&body),
                action: &format!("change the repository {place}"),
                permission: "artifactregistry.repositories.update",
                role: ADMIN,
            })
            .await?;
        if answer.is_none() {
            return Err(ApiError::Missing(format!("repository {place}")));
        }
        if let Some(there) = self.get(place).await? {
            drift = wanted.drift(place, &there);
            repository = there;
        }
        Ok(Ensured {
            outcome: Outcome::Mended,
            drift,
            repository,
        })
    }

    async fn create(&self, place: &Place, wanted: &Wanted) -> Result<Outcome, ApiError> {
        let path = format!(
            "{}/repositories?repositoryId={}",
            place.parent(),
            place.repository
        );
        let body = wanted.to_create();
        let ask = Ask {
            method: Method::POST,
            path: &path,
            body: Some(&body),
            action: &format!("create the repository {place}"),
            permission: "artifactregistry.repositories.create",
            role: ADMIN,
        };
        let operation = match self.wire.ask(&ask).await {
            Ok(Some(operation)) => operation,
            Ok(None) => {
                let (project, location) = (&place.project, &place.location);
                let what = format!("project {project}, or no location {location} in it");
                return Err(ApiError::Missing(what));
            }
            Err(ApiError::Refused { status, .. }) if status == "ALREADY_EXISTS" => {
                return Ok(Outcome::Existed);
            }
            Err(error) => return Err(error),
        };
        self.wait(operation, ask.action).await?;
        Ok(Outcome::Created)
    }

    /// Waits for a long-running operation.
    async fn wait(&self, mut operation: Value, action: &str) -> Result<(), ApiError> {
        let mut pause = self.wire.timing.pause;
        for _ in 0..self.wire.timing.looks_max {
            if operation["done"] == true {
                return match operation.get("error") {
                    // `google.rpc.Code.ALREADY_EXISTS`.
                    Some(error) if error["code"] == 6 => Ok(()),
                    Some(error) => Err(ApiError::Refused {
                        action: action.to_owned(),
                        status: format!("code {}", error["code"]),
                        message: error["message"].as_str().unwrap_or_default().to_owned(),
                        advice: None,
                    }),
                    None => Ok(()),
                };
            }
            let name = operation["name"].as_str().map(str::to_owned);
            let name = name.ok_or_else(|| {
                ApiError::Answer("an operation that is not done has no name".to_owned())
            })?;
            tokio::time::sleep(pause).await;
            pause *= 2;
            let ask = Ask {
                method: Method::GET,
                path: &name,
                body: None,
                action: "say how far it is",
                permission: "artifactregistry.repositories.get",
                role: READER,
            };
            operation = self
                .wire
                .ask(&ask)
                .await?
                .ok_or_else(|| ApiError::Missing(format!("operation {name}")))?;
        }
        Err(ApiError::Unfinished(action.to_owned()))
    }

    /// The digest that a tag of the place's image points at; `None` when there is no such tag.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn tag(&self, place: &Place, tag: &Tag) -> Result<Option<Digest>, ApiError> {
        let image = place.image.as_deref().unwrap_or_default();
        let name = tag.as_str();
        let path = format!(
            "{}/packages/{}/tags/{name}",
            place.resource(),
            escaped(image)
        );
        let answer = self
            .wire
            .ask(&Ask {
                method: Method::GET,
                path: &path,
                body: None,
                action: &format!("describe {place}/{image}:{name}"),
                permission: "artifactregistry.tags.get",
                role: READER,
            })
            .await?;
        let Some(answer) = answer else {
            return Ok(None);
        };
        let TagFacts { version } = understand(answer)?;
        let digest = version.rsplit('/').next().unwrap_or_default();
        let digest = digest
            .parse()
            .map_err(|error: oci::DigestError| ApiError::Answer(error.to_string()))?;
        Ok(Some(digest))
    }

    /// What the service knows of an image; `None` when it knows none of this digest.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn image(
        &self,
        place: &Place,
        digest: &Digest,
    ) -> Result<Option<ImageFacts>, ApiError> {
        let image = place.image.as_deref().unwrap_or_default();
        let path = format!(
            "{}/dockerImages/{}@{digest}",
            place.resource(),
            escaped(image)
        );
        let answer = self
            .wire
            .ask(&Ask {
                method: Method::GET,
                path: &path,
                body: None,
                action: &format!("describe {place}/{image}@{digest}"),
                permission: "artifactregistry.dockerimages.get",
                role: READER,
            })
            .await?;
        answer.map(understand).transpose()
    }
}

/// A tag, as the service describes it.
#[derive(Deserialize)]
struct TagFacts {
    version: String,
}

fn understand<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::Answer(error.to_string()))
}

/// The name of an image as one part of a path.
fn escaped(image: &str) -> String {
    image.replace('%', "%25").replace('/', "%2F")
}
