//! The stage props: fakes that behave, for tests only.
//!
//! A fake here does what the real thing does, over the real protocol, and can
//! be told to misbehave at a chosen moment; it is not a mock that repeats
//! recorded answers. Nothing in this crate reaches beyond loopback, reads the
//! environment or touches the disk. It panics freely: it runs in tests alone.
//!
//! * [`Registry`]: a distribution registry in memory, over HTTP/1.1, with
//!   scripted faults and a log of every request.
//! * [`image()`]: small valid images made from a few lines.
//! * [`validate_image`]: reads an image back from a registry and checks
//!   everything that can be checked.
//! * [`program()`]: the smallest programs for several processors.
//! * [`Web`]: pages in memory, with validators and faults.
//! * [`SigningService`]: a signing service with mutual TLS and faults.
//! * [`Bucket`]: services that keep objects, with signatures and faults.
//! * [`Google`]: services that give access tokens, with checks and faults.
//! * [`tar`]: reads and writes tar streams independently of the code under
//!   test.

mod artifact_registry;
mod bucket;
mod google;
mod image;
mod job_identity;
mod program;
mod registry;
mod signing_service;
pub mod tar;
mod validate;
mod web;

pub use bucket::{Bucket, BucketAuth, BucketFault};
pub use google::{ACCESS_TOKEN, FEDERATED_TOKEN, Google, REFRESH_TOKEN, SUBJECT};
pub use http::Method;
pub use image::{Image, Layer, LayerBlob, image};
pub use program::{Processor, launcher, program};
pub use registry::{
    Action, Auth, Endpoint, ImmutableTags, Match, Options, Realm, Recorded, Registry,
    UploadLocation,
};
pub use signing_service::{ClientSecret, ServerCertificate, ServiceAnswer, SigningService};
pub use validate::{ValidImage, ValidLayer, validate_image};
pub use web::{Page, PageFault, Visit, Web};
