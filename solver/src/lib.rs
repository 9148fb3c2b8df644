//! Placement as an integer program: a [`Problem`] goes in, a [`Solution`] with its proof comes out.
//!
//! The crate is pure. It does no IO, reads no clock except through the deadline it is given, and knows no
//! containers: a *workload* is a demand vector wanted a number of times, a *node* a capacity vector with a price.

mod backend;
mod check;
mod classes;
mod deadline;
mod evaluate;
mod explain;
mod greedy;
mod guided;
mod instance;
mod layout;
mod lexicographic;
mod model;
mod neighbourhoods;
mod problem;
mod prune;
mod solution;
mod solve;
mod validate;

pub use check::{check, excused, verify};
pub use evaluate::{evaluate, tiers};
pub use problem::*;
pub use solution::*;
pub use solve::{SolveOptions, solve};
pub use validate::ProblemError;
