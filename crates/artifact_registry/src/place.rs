//! Which repository a reference is in: its host says where, its path whose and which.

use std::fmt;

use crate::PlaceError;

/// The most that a repository's name may have, in characters.
const NAME_CHARS_MAX: usize = 63;

/// The hosts of the former Container Registry: each is served by a repository with the host's name
/// in one multi-region.
const FORMER: &[(&str, &str)] = &[
    ("gcr.io", "us"),
    ("us.gcr.io", "us"),
    ("eu.gcr.io", "europe"),
    ("asia.gcr.io", "asia"),
];

/// A repository of Artifact Registry, and perhaps an image in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Such as `us-central1-docker.pkg.dev`.
    pub host: String,
    /// Such as `p1`, or `example.com:p1`.
    pub project: String,
    /// A region or multi-region, such as `us-central1`.
    pub location: String,
    /// The repository's name.
    pub repository: String,
    /// The path below it, if there is one.
    pub image: Option<String>,
}

impl Place {
    /// The place of `host/path`, with neither tag nor digest.
    ///
    /// # Errors
    ///
    /// [`PlaceError`] for other registries, and for names that no repository has.
    pub fn of(host: &str, path: &str) -> Result<Self, PlaceError> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        // A project of a domain is written `example.com:p1`, and as two parts in a path.
        let mut project = parts.next().unwrap_or_default().to_owned();
        if project.contains('.') {
            let rest = parts.next().unwrap_or_default();
            project = format!("{project}:{rest}");
        }
        if project.is_empty() || project.ends_with(':') {
            return Err(PlaceError::NoProject(host.to_owned()));
        }
        let former = FORMER.iter().find(|(name, _)| *name == host);
        let (location, repository) = match former {
            Some((name, location)) => ((*location).to_owned(), (*name).to_owned()),
            None => {
                let location =
                    location(host).ok_or_else(|| PlaceError::Foreign(host.to_owned()))?;
                let repository = parts.next().unwrap_or_default();
                if repository.is_empty() {
                    return Err(PlaceError::NoRepository(format!("{host}/{path}")));
                }
                if !is_name(repository) {
                    return Err(PlaceError::Name(repository.to_owned()));
                }
                (location.to_owned(), repository.to_owned())
            }
        };
        let image: Vec<&str> = parts.collect();
        Ok(Self {
            host: host.to_owned(),
            project,
            location,
            repository,
            image: (!image.is_empty()).then(|| image.join("/")),
        })
    }

    /// `projects/P/locations/L/repositories/R`.
    pub fn resource(&self) -> String {
        format!("{}/repositories/{}", self.parent(), self.repository)
    }

    /// `projects/P/locations/L`.
    pub fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }
}

/// `HOST/PROJECT/REPOSITORY`.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let project = self.project.replace(':', "/");
        match FORMER.iter().any(|(name, _)| *name == self.host) {
            true => write!(formatter, "{}/{project}", self.host),
            false => write!(formatter, "{}/{project}/{}", self.host, self.repository),
        }
    }
}

fn location(host: &str) -> Option<&str> {
    let location = host
        .strip_suffix("-docker.pkg.dev")
        .or_else(|| host.strip_prefix("docker.")?.strip_suffix(".rep.pkg.dev"))?;
    let is_location = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (!location.is_empty() && location.chars().all(is_location)).then_some(location)
}

/// `^[a-z]([a-z0-9-]*[a-z0-9])?$`, at most 63.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn references_say_where_their_repository_is() {
        let check = |host: &str, path: &str, expected: &str| {
            let found = match Place::of(host, path) {
                Ok(place) => format!("{} {:?}", place.resource(), place.image),
                Err(error) => error.to_string(),
            };
            assert!(found.starts_with(expected), "{host}/{path}: {found}");
        };
        let central = "us-central1-docker.pkg.dev";
        check(
            central,
            "p1/gie",
            "projects/p1/locations/us-central1/repositories/gie None",
        );
        check(
            central,
            "p1/gie/a/epp",
            "projects/p1/locations/us-central1/repositories/gie Some(\"a/epp\")",
        );
        check(
            central,
            "example.com/p1/gie",
            "projects/example.com:p1/locations/us-central1/repositories/gie None",
        );
        check(
            "docker.me-central2.rep.pkg.dev",
            "p1/gie",
            "projects/p1/locations/me-central2/repositories/gie None",
        );
        check(
            "gcr.io",
            "p1/app",
            "projects/p1/locations/us/repositories/gcr.io Some(\"app\")",
        );
        check(
            "eu.gcr.io",
            "p1",
            "projects/p1/locations/europe/repositories/eu.gcr.io None",
        );
        check(
            "registry.example",
            "p1/gie",
            "registry.example is not Artifact Registry",
        );
        check("pkg.dev", "p1/gie", "pkg.dev is not Artifact Registry");
        check(
            central,
            "p1",
            "us-central1-docker.pkg.dev/p1 names no repository",
        );
        check(central, "", "us-central1-docker.pkg.dev names no project");
        check(
            central,
            "p1/Gie",
            "`Gie` cannot be the name of a repository",
        );
        check(
            central,
            "p1/gie-",
            "`gie-` cannot be the name of a repository",
        );
    }
}
