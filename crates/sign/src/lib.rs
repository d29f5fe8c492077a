//! The seal: signatures, provenance and SBOMs as documents about a digest.
//!
//! It is given descriptors and bytes and makes [`oci::Attachment`]s, or checks them. It never
//! pushes, never resolves a tag, and has never heard of builds. The one service that it speaks to is
//! a signer's or a timestamp authority's.
