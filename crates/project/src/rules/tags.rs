//! Tags, and the templates of floating ones.

use policy::{PLACEHOLDERS, TagTemplate, TagTemplateError};

use super::Findings;
use crate::nearest::nearest;

pub(super) fn check(findings: &mut Findings<'_>) {
    let project = findings.project();
    for (index, text) in project.tags.floating.iter().enumerate() {
        let index = index.to_string();
        let path = ["tags", "floating", index.as_str()];
        match TagTemplate::parse(text) {
            Ok(template) if template.fixed() == Some("latest") && !project.tags.allow_latest => {
                let help = "add `allow-latest: true` to `tags` if it is meant";
                let message = "`latest` says nothing of what it is, and is not allowed by itself";
                findings.report(&path, message, "not allowed", Some(help.to_owned()));
            }
            Ok(_) => {}
            Err(error) => {
                let help = match &error {
                    TagTemplateError::Unknown { name } => nearest(name, PLACEHOLDERS),
                    TagTemplateError::Open | TagTemplateError::Tag => None,
                };
                let help = help.map(|near| format!("did you mean `{{{near}}}`?"));
                findings.report(&path, &error.to_string(), "not a tag", help);
            }
        }
    }
    if project.tags.policy.is_empty() && project.tags.floating.is_empty() {
        let message = "images would have no tag at all";
        let help = "leave the key out for `[git-sha]`";
        findings.report(&["tags", "policy"], message, "empty", Some(help.to_owned()));
    }
    let tag = &project.channel_layout.tag;
    if let Err(error) = tag.parse::<oci::Tag>() {
        let path = ["channel-layout", "tag"];
        findings.report(&path, &error.reason, "not a tag", None);
    }
}
