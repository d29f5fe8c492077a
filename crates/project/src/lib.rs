//! The declaration: what `kiln.yaml` says, as typed values.
//!
//! It turns text into values and says where it does not understand. It reads no file, asks no
//! registry, knows no environment, and decides nothing: rules are in `policy`.

mod declaration;
mod diagnostic;
mod form;
mod layers;
mod local;
mod nearest;
mod places;
mod read;
mod rules;
mod schema;
mod span;
mod yaml;

pub use declaration::{
    Channel, ChannelLayout, Compatibility, DestinationDeclaration, GoogleAccount, HelmShape,
    HelmValues, ImageDeclaration, PLAIN, Project, SignatureEnvelope, SignerDeclaration, SignerKind,
    TagRules, Variant, VerifyPolicy,
};
pub use diagnostic::Diagnostic;
pub use form::shown_path;
pub use layers::{Layer, LayerError, Layered, Origin, Setting, Sourced, layered};
pub use local::{read_lattice, read_local};
pub use places::Places;
pub use policy::{DirtyPolicy, TagPolicy};
pub use read::{Declared, ReadError, read};
pub use schema::schema;
pub use span::Span;
pub use yaml::TEXT_BYTES_MAX;
