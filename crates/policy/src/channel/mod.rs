//! Channels: how they are called, where their images are, and what must hold before one is moved.

mod guard;
mod layout;
mod name;
mod pattern;
mod rule;

pub use guard::{
    Ancestry, ChannelFacts, Identity, Passage, Refusal, Signatures, SourceFacts, TestOutcome,
    Unmet, admit,
};
pub use layout::{ChannelPlace, Layout, LayoutError, Member, Seat, seats};
pub use name::{CHANNEL_BYTES_MAX, ChannelName, ChannelNameError};
pub use pattern::Pattern;
pub use rule::{RULE_BYTES_MAX, Rule, RuleError};
