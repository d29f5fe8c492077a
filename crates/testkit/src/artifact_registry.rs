//! Google's Artifact Registry, as far as its repositories and what it knows of images go: a part of
//! the fake services of Google.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Repositories by resource name, what is going on, and images.
#[derive(Debug, Default)]
pub(crate) struct ArtifactRegistry {
    repositories: BTreeMap<String, Value>,
    /// Operations by name: how often somebody must look before it is done.
    operations: BTreeMap<String, u32>,
    /// What answers to a GET of other resources.
    resources: BTreeMap<String, Value>,
    pub(crate) looks: u32,
}

fn refusal(status: u16, name: &str, message: &str) -> (u16, String) {
    let error = json!({"error": {"code": status, "status": name, "message": message}});
    (status, error.to_string())
}

impl ArtifactRegistry {
    pub(crate) fn is_asked(path: &str) -> bool {
        path.starts_with("/v1/projects/") && path.contains("/locations/")
    }

    pub(crate) fn put(&mut self, resource: &str, document: Value) {
        match resource.contains("/dockerImages/") || resource.contains("/packages/") {
            true => self.resources.insert(resource.to_owned(), document),
            false => self.repositories.insert(resource.to_owned(), document),
        };
    }

    pub(crate) fn repository(&self, resource: &str) -> Option<Value> {
        self.repositories.get(resource).cloned()
    }

    pub(crate) fn judge(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: &str,
    ) -> (u16, String) {
        let resource = path.strip_prefix("/v1/").unwrap_or(path);
        match method {
            "POST" if resource.ends_with("/repositories") => self.create(resource, query, body),
            "PATCH" => self.patch(resource, query, body),
            "GET" if resource.contains("/operations/") => self.look(resource),
            "GET" => {
                let found = self.repositories.get(resource);
                match found.or_else(|| self.resources.get(resource)) {
                    Some(document) => (200, document.to_string()),
                    None => refusal(404, "NOT_FOUND", "Requested entity was not found."),
                }
            }
            _ => refusal(400, "INVALID_ARGUMENT", "no such call"),
        }
    }

    fn create(&mut self, parent: &str, query: &str, body: &str) -> (u16, String) {
        let Some(id) = query.strip_prefix("repositoryId=") else {
            return refusal(400, "INVALID_ARGUMENT", "repositoryId is missing");
        };
        let Ok(mut document) = serde_json::from_str::<Value>(body) else {
            return refusal(400, "INVALID_ARGUMENT", "the body is not JSON");
        };
        if document["format"] != "DOCKER" {
            return refusal(400, "INVALID_ARGUMENT", "format is missing");
        }
        let name = format!("{parent}/{id}");
        if self.repositories.contains_key(&name) {
            return refusal(409, "ALREADY_EXISTS", "the repository already exists");
        }
        let parts: Vec<&str> = name.split('/').collect();
        document["name"] = json!(name);
        document["createTime"] = json!("2026-01-02T03:04:05Z");
        document["registryUri"] = json!(format!("{}-docker.pkg.dev/{}/{id}", parts[3], parts[1]));
        self.repositories.insert(name, document);
        let operation = format!("{}/operations/1", parent.trim_end_matches("/repositories"));
        self.operations.insert(operation.clone(), self.looks);
        (200, json!({"name": operation, "done": false}).to_string())
    }

    fn patch(&mut self, resource: &str, query: &str, body: &str) -> (u16, String) {
        let Some(document) = self.repositories.get_mut(resource) else {
            return refusal(404, "NOT_FOUND", "Requested entity was not found.");
        };
        let Ok(change) = serde_json::from_str::<Value>(body) else {
            return refusal(400, "INVALID_ARGUMENT", "the body is not JSON");
        };
        let mask = query.strip_prefix("updateMask=").unwrap_or_default();
        for field in mask.split(',') {
            let pointer = format!("/{}", field.replace('.', "/"));
            let Some(value) = change.pointer(&pointer) else {
                return refusal(400, "INVALID_ARGUMENT", "the mask names what is not there");
            };
            match field.split_once('.') {
                Some((outer, inner)) => document[outer][inner] = value.clone(),
                None => document[field] = value.clone(),
            }
        }
        (200, document.to_string())
    }

    fn look(&mut self, name: &str) -> (u16, String) {
        match self.operations.get_mut(name) {
            None => refusal(404, "NOT_FOUND", "no such operation"),
            Some(0) => (
                200,
                json!({"name": name, "done": true, "response": {}}).to_string(),
            ),
            Some(left) => {
                *left -= 1;
                (200, json!({"name": name, "done": false}).to_string())
            }
        }
    }
}
