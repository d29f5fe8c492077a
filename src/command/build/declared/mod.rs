//! The images that a project declares, as one build: what `kiln build` without a path makes, and what
//! channels publish.
//!
//! Every image is there in each of its variants. A variant that says how to build, by a target, build
//! arguments or other bases, is an image of the same graph; one that only lays files over the
//! finished image builds nothing.

mod build;
mod choice;
mod naming;
mod request;

pub(crate) use build::{BuiltMember, BuiltSet, build};
pub(crate) use choice::{Member, Selection, members};
pub(crate) use naming::{Named, Names, signed_by};
pub(crate) use request::{DeclaredSet, declared_set, defaults};
