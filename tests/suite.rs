//! All tests of the program and of the repository, as one binary.
//!
//! One module for each promise. `tidy::every_test_file_is_declared` fails when
//! a file in this directory is missing here.

// A test that cannot run here says so, and one with a seed says which.
#![allow(clippy::print_stderr)]

mod accounts;
mod again;
mod attest;
mod bases;
mod bench;
mod channel_identity;
mod channel_signed;
mod channels;
mod cli;
mod conformance;
mod contexts;
mod copy;
mod doctor;
mod ending;
mod errors;
mod explain;
mod faults;
mod help;
mod hostile;
mod images;
mod inspect;
mod journeys;
mod kept_mounts;
mod layering;
mod load;
mod mounted;
mod mounts;
mod platforms;
mod publish;
mod registry_program;
mod repositories;
mod run;
mod shared_cache;
mod signing;
mod site;
mod sources;
mod stress;
mod tags;
mod tidy;
mod twins;
