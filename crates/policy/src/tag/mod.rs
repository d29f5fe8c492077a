//! Tags: which ones an image gets, and what they may look like.

mod plan;
mod sanitise;
mod template;

pub use plan::{DirtyPolicy, TagError, TagPlan, TagPolicy, TagWishes, dirty_suffix, plan_tags};
pub(crate) use plan::{described, short};
pub use sanitise::{TAG_CHARS_MAX, sanitised};
pub use template::{PLACEHOLDERS, TagTemplate, TagTemplateError, TagWords};
