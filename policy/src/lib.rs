//! The Cedar schema, entities and gates: who may deploy what, where it may run, who may operate the cluster.
//!
//! The crate knows neither KDL nor the solver. Questions are asked in plain facts ([`WorkloadFacts`], [`NodeFacts`], …);
//! the answer names the policies that decided, with file and line.

mod facts;

pub use facts::*;
