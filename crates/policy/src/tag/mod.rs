//! Tags: which ones an image gets, and what they may look like.

mod sanitise;
mod template;

pub use sanitise::{TAG_CHARS_MAX, sanitised};
pub use template::{PLACEHOLDERS, TagTemplate, TagTemplateError, TagWords};
