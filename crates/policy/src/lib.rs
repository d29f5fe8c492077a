//! The rules: which tags an image gets, what a working tree with changes means, how names are made,
//! and whether a channel may be moved.
//!
//! Everything it needs to know is handed in; it touches no file, socket, clock or environment, and
//! does nothing: it answers.

mod channel;
mod identity;
mod tag;
mod user_name;
mod working_tree;

pub use channel::{
    Ancestry, CHANNEL_BYTES_MAX, ChannelFacts, ChannelName, ChannelNameError, ChannelPlace,
    Identity, Layout, LayoutError, Member, Passage, Pattern, RULE_BYTES_MAX, Refusal, Rule,
    RuleError, Seat, Signatures, SourceFacts, TestOutcome, Unmet, admit, seats,
};
pub use identity::{
    CREATED, OFFERED_ARGUMENTS, REVISION, SOURCE, VERSION, identity_labels, offered_arguments,
};
pub use tag::{
    DirtyPolicy, PLACEHOLDERS, TAG_CHARS_MAX, TagError, TagPlan, TagPolicy, TagTemplate,
    TagTemplateError, TagWishes, TagWords, dirty_suffix, plan_tags, sanitised,
};
pub use user_name::{UserName, UserNameError, UserNameSource, UserNameSources, user_name};
pub use working_tree::WorkingTree;
