//! Placement as an integer program: a [`Problem`] goes in, a [`Solution`] with its proof comes out.
//!
//! The crate is pure. It does no IO, reads no clock except through the deadline it is given, and knows no
//! containers: a *workload* is a demand vector wanted a number of times, a *node* a capacity vector with a price.

mod problem;
mod solution;

pub use problem::*;
pub use solution::*;
