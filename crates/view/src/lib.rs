//! The view: a tree as a read-only file system that the kernel shows, without a file on a disk.
//!
//! Names, owners and attributes come from a [`store::layer::Tree`], and whatever is read from
//! files by a trait ([`Contents`]). It has never heard of images, registries or caches, so it does
//! not know where contents are from, or what they cost.
//!
//! The kernel asks through the file `/dev/fuse` (`fuse(4)`), and threads of this process answer.
//! The mount is attached nowhere: whoever has its descriptor can attach it in a mount namespace of
//! their own. No path of the machine ever shows it, and with this process it is gone.
//!
//! The protocol is spoken here and not by a library: of a file system that never changes it takes
//! a dozen requests, and none of them needs unsafe code.
//!
//! ```text
//! view       what is given out: mounts, and the end of it all
//! session    one connection to the kernel, and who listens to it
//! answer     request → reply, from the tree alone
//! readers    requests that have to wait for contents, and threads that wait
//! nodes      a tree as the kernel wants to know it: numbers, owners, links
//! protocol   requests and replies as bytes
//! ```

mod answer;
mod nodes;
mod protocol;
mod readers;
mod session;
mod view;

pub use nodes::Ids;
pub use readers::Contents;
pub use view::{View, ViewError};
