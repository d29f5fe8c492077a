//! Golden vectors: which tags come of which wishes and which sources. The table is `tags.json`.

use oci::Tag;
use policy::{DirtyPolicy, TagPolicy, TagTemplate, TagWishes, WorkingTree, plan_tags};
use serde_json::Value;

const VECTORS: &str = include_str!("tags.json");

fn tags(value: &Value) -> Vec<Tag> {
    texts(value)
        .iter()
        .map(|tag| tag.parse().expect("a tag"))
        .collect()
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

fn tree(value: &Value) -> Option<WorkingTree> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    value.as_object()?;
    let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
    Some(WorkingTree {
        commit: text("commit").unwrap_or(commit),
        dirty: !value["changes"].is_null(),
        changes: text("changes"),
        branch: text("branch"),
        describe: text("describe"),
        shallow: value["shallow"] == true,
        ..WorkingTree::default()
    })
}

#[test]
fn tags_are_what_the_table_says() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
    assert!(vectors.len() > 20);
    for vector in &vectors {
        let policies: Option<Vec<TagPolicy>> =
            serde_json::from_value(vector["policy"].clone()).expect("policies");
        let dirty: Option<DirtyPolicy> =
            serde_json::from_value(vector["dirty"].clone()).expect("a policy");
        let templates = texts(&vector["floating"]);
        let templates = templates
            .iter()
            .map(|text| TagTemplate::parse(text).expect("a template"));
        let wishes = TagWishes {
            policies: policies.unwrap_or(vec![TagPolicy::GitSha]),
            given: tags(&vector["given"]),
            floating: templates.collect(),
            extra: tags(&vector["extra"]),
            dirty: dirty.unwrap_or_default(),
            allow_latest: vector["latest"] == true,
        };
        let what = &vector["what"];
        let found = plan_tags(&wishes, tree(&vector["tree"]).as_ref(), Some("20261121"));
        match (found, vector["error"].as_str()) {
            (Ok(plan), None) => {
                assert_eq!(plan.immutable, tags(&vector["immutable"]), "{what}");
                assert_eq!(plan.floating, tags(&vector["moving"]), "{what}");
                let notes = vector["notes"].as_u64().unwrap_or(0);
                assert_eq!(plan.notes.len() as u64, notes, "{what}");
            }
            (Err(error), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{what}: {error}");
            }
            (found, expected) => panic!("{what}: {found:?}, and not {expected:?}"),
        }
    }
}
