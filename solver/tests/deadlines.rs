//! The end of a search: by the clock or by somebody who does not want the answer any more.

#[expect(dead_code, reason = "the oracle serves other tests too")]
mod oracle;

use hyphae_solver::{Cancel, SolveOptions, solve, verify};
use std::time::Duration;

/// Without explanations, which a search that was ended does not give either.
fn options(time_limit: Duration, cancel: Option<Cancel>) -> SolveOptions {
    SolveOptions { time_limit, explain: false, cancel, ..SolveOptions::default() }
}

#[test]
fn a_cancelled_search_answers_like_one_without_time() {
    let cancel = Cancel::new();
    cancel.cancel();
    for seed in 0..300 {
        let problem = oracle::small(seed);
        let without_time = solve(&problem, &options(Duration::ZERO, None)).expect("valid");
        let cancelled = solve(&problem, &options(Duration::from_secs(60), Some(cancel))).expect("valid");
        assert!(verify(&problem, &cancelled.placed).is_ok(), "seed {seed}");
        assert_eq!(cancelled.placed, without_time.placed, "seed {seed}");
    }
}

#[test]
fn a_switch_that_is_off_again_ends_nothing() {
    let cancel = Cancel::new();
    cancel.cancel();
    cancel.reset();
    for seed in 0..60 {
        let problem = oracle::small(seed);
        let plain = solve(&problem, &options(Duration::from_secs(60), None)).expect("valid");
        assert_eq!(
            solve(&problem, &options(Duration::from_secs(60), Some(cancel))).expect("valid"),
            plain,
            "seed {seed}"
        );
    }
}
