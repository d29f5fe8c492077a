//! The client against registries that fail, lie and stall.

mod accounts;
mod common;
mod faults;
mod helpers;
mod keeper;
mod lists;
mod lookup;
mod origins;
mod providers;
mod ranges;
mod real;
