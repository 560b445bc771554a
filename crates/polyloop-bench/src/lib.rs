//! The library under the `polyloop` program: serve a protocol with any model, load it, and
//! compare what the models cost.
//!
//! | module | what is in it |
//! |---|---|
//! | [`protocols`] | what can be served |
//! | [`serve`] | one server, for a person or for `compare` |
//! | [`load`] | the load generator |
//! | [`compare`] | servers against each other: plan, run, save, table |
//! | [`atlas`] | what each system call and each backend tells of some seventy situations |
//! | [`statistics`] | medians, paired ratios, intervals, verdicts |
//! | [`control`] | how a measured process talks to its parent |
//! | [`process`] | what the operating system knows about a process |
//! | [`cli`] | the command line and its exit codes |
//! | [`mistake`] | what was asked for and can't be |
//! | [`output`] | what the program prints for its user |
//! | [`transport`] | streams, or datagrams |
//! | [`units`] | figures as a person would write them |
#![forbid(unsafe_code)]

pub mod atlas;
pub mod cli;
pub mod compare;
pub mod control;
pub mod load;
pub mod mistake;
pub mod output;
pub mod process;
pub mod protocols;
pub mod serve;
pub mod statistics;
mod text;
pub mod transport;
pub mod units;
