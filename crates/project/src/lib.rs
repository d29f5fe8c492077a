//! The declaration: what `kiln.yaml` says, as typed values.
//!
//! It turns text into values and says where it does not understand. It reads no file, asks no
//! registry, knows no environment, and decides nothing: rules are in `policy`.

mod declaration;

pub use declaration::{
    Channel, ChannelLayout, DestinationDeclaration, DirtyPolicy, GoogleAccount, HelmValues,
    ImageDeclaration, Project, SignerDeclaration, SignerKind, TagPolicy, TagRules, Variant,
    VerifyPolicy,
};
