//! Nodes by key: a sorted list cut into short runs, so that an entry comes and goes in a time that hardly depends on how many there are.

/// Entries in a run before it is cut in two.
const RUN_MAX: usize = 128;

/// (key, node), ascending.
#[derive(Default)]
pub(crate) struct Ordered {
    /// Never an empty one.
    runs: Vec<Vec<(i64, u32)>>,
}

impl Ordered {
    /// The run in which an entry lies or would lie.
    fn run_of(&self, entry: (i64, u32)) -> usize {
        self.runs.partition_point(|run| run.last().is_some_and(|last| *last < entry))
    }

    pub(crate) fn insert(&mut self, entry: (i64, u32)) {
        // What is larger than all lies at the end of the last run.
        let at = self.run_of(entry).min(self.runs.len().saturating_sub(1));
        let Some(run) = self.runs.get_mut(at) else {
            self.runs.push(vec![entry]);
            return;
        };
        run.insert(run.partition_point(|other| *other < entry), entry);
        if run.len() > RUN_MAX {
            let half = run.split_off(RUN_MAX / 2);
            self.runs.insert(at + 1, half);
        }
    }

    /// Takes an entry out, if it is there.
    pub(crate) fn remove(&mut self, entry: (i64, u32)) {
        let at = self.run_of(entry);
        let Some(run) = self.runs.get_mut(at) else { return };
        if let Ok(position) = run.binary_search(&entry) {
            run.remove(position);
            if run.is_empty() {
                self.runs.remove(at);
            }
        }
    }

    pub(crate) fn first(&self) -> Option<(i64, u32)> {
        self.runs.first().and_then(|run| run.first()).copied()
    }

    /// The entries whose keys are at least `key`.
    pub(crate) fn from(&self, key: i64) -> impl Iterator<Item = (i64, u32)> + '_ {
        let at = self.run_of((key, 0));
        let skipped = self.runs.get(at).map_or(0, |run| run.partition_point(|(other, _)| *other < key));
        self.runs[at..].iter().flatten().skip(skipped).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_holds_what_a_set_holds_in_the_same_order() {
        let (mut ordered, mut set, mut state) = (Ordered::default(), BTreeSet::new(), 7u64);
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let entry = ((state >> 33) as i64 % 500 - 250, (state >> 20) as u32 % 4);
            // It grows at first and shrinks later.
            if (state >> 50) % 100 < if step < 10_000 { 70 } else { 20 } {
                if set.insert(entry) {
                    ordered.insert(entry);
                }
            } else {
                set.remove(&entry);
                ordered.remove(entry);
            }
            assert_eq!(ordered.first(), set.first().copied());
            if step % 50 == 0 {
                let key = (state >> 40) as i64 % 600 - 300;
                assert!(ordered.from(key).eq(set.range((key, 0)..).copied()), "step {step}");
            }
        }
    }
}
