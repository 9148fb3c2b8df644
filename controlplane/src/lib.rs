//! Replicated state, planner and gRPC services: what joins specs, policies and the solver.
//!
//! ```text
//! files ------> planner --PlanDocument--> operator --Apply--> planner::verify --Release--> raft log --> State --> shares --> agents
//! State ------/                                                                              \--> rollout: one wave after another
//! ```

pub mod observed;
pub mod plan;
pub mod planner;
pub mod raft;
pub mod rollout;
pub mod server;
pub mod state;
