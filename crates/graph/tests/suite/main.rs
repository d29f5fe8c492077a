//! What a Dockerfile becomes: its graph, its keys, and the order in which a solver goes about it.

mod anything;
mod corpus;
mod identity;
mod join;
mod keys;
mod lint_pages;
mod machine;
mod print;
mod run_keys;
mod several_images;
mod solver;
mod support;
