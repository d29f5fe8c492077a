//! COPY, ADD and WORKDIR: layers made straight from their sources, without a
//! root file system.
//!
//! ```text
//! pattern ─select→ matches ─place→ planned entries ─write→ layer
//!            ↑                ↑
//!     context or tree     tree below
//! ```

pub(crate) mod archive;
pub(crate) mod context;
pub(crate) mod files;
pub(crate) mod hashed;
pub(crate) mod layer_files;
pub(crate) mod place;
pub(crate) mod programs;
pub(crate) mod select;
pub(crate) mod stage;
pub(crate) mod write;
