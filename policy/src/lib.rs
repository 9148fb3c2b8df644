//! The Cedar schema, entities and gates: who may deploy what, where it may run, who may operate the cluster.
//!
//! The crate knows neither KDL nor the solver. Questions are asked in plain facts ([`WorkloadFacts`], [`NodeFacts`], …);
//! the answer names the policies that decided, with file and line.
//!
//! ```text
//! files --statements--> one text per policy --Cedar's parser--> policies --strict validation--> Policies
//!          (bounded)                                                 \______ all PolicyErrors at once
//!
//! facts --entities--> principal, action, resource, context, entities --Policies--> Decision
//! ```

mod entities;
mod error;
mod facts;
mod load;
mod policies;
mod reason;
mod statements;

pub use error::{PolicyError, render};
pub use facts::*;
pub use load::PolicySource;
pub use policies::Policies;

/// The schema every policy is validated against.
pub const SCHEMA: &str = include_str!("../hyphae.cedarschema");

/// The policies of `hyphae dev`.
pub const DEV_POLICIES: &str = include_str!("../policies/dev.cedar");
