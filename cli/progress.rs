//! The edge to the eyes: what moves on stderr while something is awaited. On anything but a terminal nothing moves; a rollout then
//! writes a line whenever a workload has come further.

use crate::output;
use crate::render::progress::{line, line_with_reason};
use crate::rollout::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;

/// Workloads that move on the screen at once; of more, only the unsettled are shown.
const BARS_MAX: usize = 12;

/// Turns while something is computed; gone when dropped. Shows nothing where stderr is no terminal.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Starts to turn.
    pub(crate) fn start(words: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner().with_message(words.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How a rollout is shown.
pub(crate) enum RolloutDisplay {
    /// A line for each workload, which changes.
    Bars { all: MultiProgress, bars: BTreeMap<String, ProgressBar> },
    /// A new line for each change: what each workload's last line was, and how often its replicas had been started again.
    Lines(BTreeMap<String, (String, u32)>),
}

impl RolloutDisplay {
    /// By what stderr is.
    pub(crate) fn new() -> Self {
        if output::stderr_is_terminal() {
            Self::Bars { all: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Self::Lines(BTreeMap::new())
        }
    }

    /// Shows how far it has come.
    pub(crate) fn show(&mut self, progress: &[Progress]) {
        match self {
            Self::Lines(last) => {
                for workload in progress {
                    let restarts = workload.failing.iter().map(|replica| replica.restarts).sum();
                    let news = (line(workload), restarts);
                    if last.get(&workload.workload) != Some(&news) {
                        output::note(&line_with_reason(workload));
                        last.insert(workload.workload.clone(), news);
                    }
                }
            }
            Self::Bars { all, bars } => {
                for workload in progress {
                    let room = bars.len() < BARS_MAX;
                    if !bars.contains_key(&workload.workload) && room && !workload.settled {
                        bars.insert(workload.workload.clone(), all.add(bar()));
                    }
                    if let Some(bar) = bars.get(&workload.workload) {
                        bar.set_message(line_with_reason(workload));
                        if workload.settled {
                            bar.finish();
                            all.remove(bar);
                            all.suspend(|| output::note(&line(workload)));
                            bars.remove(&workload.workload);
                        }
                    }
                }
            }
        }
    }
}

impl Drop for RolloutDisplay {
    fn drop(&mut self) {
        if let Self::Bars { all, .. } = self {
            let _ = all.clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
