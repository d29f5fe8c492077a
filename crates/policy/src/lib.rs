//! The rules: which tags an image gets, what a working tree with changes means, how names are made,
//! and whether a channel may be moved.
//!
//! Everything it needs to know is handed in; it touches no file, socket, clock or environment, and
//! does nothing: it answers.

mod working_tree;

pub use working_tree::WorkingTree;
