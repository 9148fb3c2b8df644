//! KDL text to a typed model in which every value knows its source span.
//!
//! ```text
//! files --Sources--> parse (one KDL node -> one Item) --> resolve (names, references, cycles, not-yet-supported) --> Model
//!                        \______________________ all Diagnostics of all files at once ______________________/
//! ```
//!
//! The crate does no IO: it is handed texts with names. It knows neither policies nor the solver.

mod model;
mod source;
mod units;

pub use model::*;
pub use source::*;
pub use units::*;
