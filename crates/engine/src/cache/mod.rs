//! The caches that other machines share.

mod request;

pub use request::{CacheMode, CacheRequest, CacheTarget};
