//! What a repository is, what is wanted of it, and how the two differ.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Place;

/// The ids of the clean-up rules that kiln makes: rules with other ids are somebody else's.
const DELETE_UNTAGGED: &str = "kiln-delete-untagged";
const KEEP_LAST: &str = "kiln-keep-last";

/// A repository, as the service describes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repository {
    /// `projects/P/locations/L/repositories/R`.
    pub name: String,
    /// `DOCKER`, or another.
    pub format: String,
    /// `STANDARD_REPOSITORY`, `REMOTE_REPOSITORY` or `VIRTUAL_REPOSITORY`.
    pub mode: String,
    /// For people.
    pub description: String,
    /// For machines.
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub create_time: String,
    /// Bytes that it takes, as a decimal number.
    pub size_bytes: Option<String>,
    /// Settings of container images.
    pub docker_config: DockerConfig,
    /// What removes images, by id.
    pub cleanup_policies: BTreeMap<String, Value>,
    /// Whether those only write down what they would do.
    pub cleanup_policy_dry_run: bool,
    /// Where images are pushed to.
    pub registry_uri: String,
}

/// Settings of container images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    /// Whether tags can neither be moved nor removed.
    pub immutable_tags: bool,
}

/// What a repository should be. What is not said is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// For people.
    pub description: Option<String>,
    /// For machines; others are left.
    pub labels: BTreeMap<String, String>,
    /// Whether tags can neither be moved nor removed.
    pub immutable_tags: Option<bool>,
    /// Images of each name that clean-up always keeps.
    pub keep_last: Option<u32>,
    /// Seconds after which clean-up removes what has no tag.
    pub delete_untagged_after_seconds: Option<u64>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub found: String,
    /// How it should be.
    pub wanted: String,
    /// The field that a change would be of; `None` for what can never change.
    pub(crate) field: Option<&'static str>,
}

impl Drift {
    /// Whether it can be mended.
    pub fn can_be_mended(&self) -> bool {
        self.field.is_some()
    }
}

impl Wanted {
    /// The body of the request that makes the repository.
    pub(crate) fn to_create(&self) -> Value {
        let mut body = self.fields(&Repository::default());
        body.insert("format".to_owned(), json!("DOCKER"));
        body.insert("mode".to_owned(), json!("STANDARD_REPOSITORY"));
        Value::Object(body)
    }

    /// The fields that are wanted, on top of what is there.
    pub(crate) fn fields(&self, there: &Repository) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        if !self.labels.is_empty() {
            let mut labels = there.labels.clone();
            labels.extend(self.labels.clone());
            body.insert("labels".to_owned(), json!(labels));
        }
        if let Some(immutable) = self.immutable_tags {
            body.insert(
                "dockerConfig".to_owned(),
                json!({"immutableTags": immutable}),
            );
        }
        let policies = self.policies();
        if !policies.is_empty() {
            let mut all = there.cleanup_policies.clone();
            all.extend(policies);
            body.insert("cleanupPolicies".to_owned(), json!(all));
            body.insert("cleanupPolicyDryRun".to_owned(), json!(false));
        }
        body
    }

    fn policies(&self) -> BTreeMap<String, Value> {
        let mut policies = BTreeMap::new();
        if let Some(seconds) = self.delete_untagged_after_seconds {
            let condition = json!({"tagState": "UNTAGGED", "olderThan": format!("{seconds}s")});
            let policy = json!({"id": DELETE_UNTAGGED, "action": "DELETE", "condition": condition});
            policies.insert(DELETE_UNTAGGED.to_owned(), policy);
        }
        if let Some(count) = self.keep_last {
            let versions = json!({"keepCount": count});
            let policy = json!({"id": KEEP_LAST, "action": "KEEP", "mostRecentVersions": versions});
            policies.insert(KEEP_LAST.to_owned(), policy);
        }
        policies
    }

    /// What differs.
    pub(crate) fn drift(&self, place: &Place, there: &Repository) -> Vec<Drift> {
        let mut drift = Vec::new();
        let mut differs = |what, field, found: String, wanted: String| {
            if found != wanted {
                drift.push(Drift {
                    what,
                    found,
                    wanted,
                    field,
                });
            }
        };
        differs("format", None, there.format.clone(), "DOCKER".to_owned());
        // A repository that has no mode is of a time before there were others.
        let mode = match there.mode.as_str() {
            "" | "MODE_UNSPECIFIED" => "STANDARD_REPOSITORY",
            mode => mode,
        };
        let standard = "STANDARD_REPOSITORY".to_owned();
        differs("mode", None, mode.to_owned(), standard);
        if !there.name.is_empty() {
            let location = there.name.split('/').nth(3).unwrap_or_default();
            differs(
                "location",
                None,
                location.to_owned(),
                place.location.clone(),
            );
        }
        if let Some(immutable) = self.immutable_tags {
            let found = there.docker_config.immutable_tags.to_string();
            let field = Some("dockerConfig.immutableTags");
            differs("immutable tags", field, found, immutable.to_string());
        }
        if let Some(description) = &self.description {
            let found = there.description.clone();
            differs(
                "description",
                Some("description"),
                found,
                description.clone(),
            );
        }
        for (key, value) in &self.labels {
            let found = there.labels.get(key).cloned().unwrap_or_default();
            differs(
                "label",
                Some("labels"),
                format!("{key}={found}"),
                format!("{key}={value}"),
            );
        }
        let field = Some("cleanupPolicies");
        for (id, policy) in self.policies() {
            let found = match there.cleanup_policies.get(&id) {
                Some(found) if covers(found, &policy) => policy.to_string(),
                Some(found) => found.to_string(),
                None => "none".to_owned(),
            };
            differs("clean-up rule", field, found, policy.to_string());
        }
        if !self.policies().is_empty() && there.cleanup_policy_dry_run {
            let (found, wanted) = ("only written down".to_owned(), "done".to_owned());
            differs("clean-up", Some("cleanupPolicyDryRun"), found, wanted);
        }
        drift
    }
}

/// Whether `found` says everything that `wanted` says; the service adds fields of its own.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            let there = found.get(key);
            there.is_some_and(|there| covers(there, value))
        }),
        (found, wanted) => found == wanted,
    }
}
