//! How many devices a set of shares needs: bin packing, exactly as far as a bounded search goes.

/// Steps of the exact search; beyond them the best packing found counts, which errs on the side of "needs more".
const STEPS_MAX: usize = 20_000;

/// The least number of devices of `parts` parts that hold `shares` (parts, how many), no share lying on two. A share larger
/// than a device never fits: it counts as `u32::MAX` devices.
pub(crate) fn devices_needed(shares: &[(u32, u64)], parts: u32) -> u64 {
    let mut sizes: Vec<(u32, u64)> = Vec::new();
    let mut sorted: Vec<(u32, u64)> =
        shares.iter().copied().filter(|(share, count)| *share > 0 && *count > 0).collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    for (share, count) in sorted {
        if share > parts {
            return u64::from(u32::MAX);
        }
        match sizes.last_mut() {
            Some((last, many)) if *last == share => *many = many.saturating_add(count),
            _ => sizes.push((share, count)),
        }
    }
    let [(share, count)] = sizes.as_slice() else {
        return packed(&sizes, parts);
    };
    count.div_ceil(u64::from(parts / share))
}

/// Several sizes, descending, each once.
fn packed(sizes: &[(u32, u64)], parts: u32) -> u64 {
    let Some((largest, _)) = sizes.first() else { return 0 };
    let total: u128 = sizes.iter().map(|(share, count)| u128::from(*share) * u128::from(*count)).sum();
    let least = u64::try_from(total.div_ceil(u128::from(parts))).unwrap_or(u64::MAX);
    debug_assert!(*largest <= parts, "larger shares are refused before");
    let mut search = Search { parts, best: first_fit(sizes, parts), least, steps: STEPS_MAX };
    let mut left = sizes.to_vec();
    search.device(&mut left, 0);
    search.best
}

/// First fit, largest first: how many devices it fills.
fn first_fit(sizes: &[(u32, u64)], parts: u32) -> u64 {
    let mut left = sizes.to_vec();
    let mut devices = 0u64;
    while left.iter().any(|(_, count)| *count > 0) {
        // What one device takes, and how many devices can be filled in just that way.
        let mut free = parts;
        let mut taken = vec![0u64; left.len()];
        for (at, (share, count)) in left.iter().enumerate() {
            taken[at] = (*count).min(u64::from(free / share));
            free -= u32::try_from(taken[at]).unwrap_or(0) * share;
        }
        let alike = left.iter().zip(&taken).filter(|(_, taken)| **taken > 0).map(|((_, count), taken)| count / taken);
        let alike = alike.min().unwrap_or(1).max(1);
        left.iter_mut().zip(&taken).for_each(|((_, count), taken)| *count -= taken * alike);
        devices = devices.saturating_add(alike);
    }
    devices
}

struct Search {
    parts: u32,
    best: u64,
    least: u64,
    steps: usize,
}

impl Search {
    /// Fills one device after the other; each begins with the largest share that is left.
    fn device(&mut self, left: &mut Vec<(u32, u64)>, used: u64) {
        let total: u128 = left.iter().map(|(share, count)| u128::from(*share) * u128::from(*count)).sum();
        if total == 0 {
            self.best = self.best.min(used);
            return;
        }
        let more = u64::try_from(total.div_ceil(u128::from(self.parts))).unwrap_or(u64::MAX);
        if self.steps == 0 || self.best == self.least || used.saturating_add(more) >= self.best {
            return;
        }
        self.steps -= 1;
        let Some(first) = left.iter().position(|(_, count)| *count > 0) else { return };
        left[first].1 -= 1;
        self.fill(left, first, self.parts - left[first].0, used);
        left[first].1 += 1;
    }

    /// Adds shares from position `at` on to the open device, as many of each as possible first.
    fn fill(&mut self, left: &mut Vec<(u32, u64)>, at: usize, free: u32, used: u64) {
        let next = (at..left.len()).find(|at| left[*at].1 > 0 && left[*at].0 <= free);
        let Some(at) = next else {
            self.device(left, used + 1);
            return;
        };
        let (share, count) = left[at];
        let most = count.min(u64::from(free / share));
        for taken in (0..=most).rev() {
            if self.steps == 0 {
                return;
            }
            left[at].1 = count - taken;
            self.fill(left, at + 1, free - u32::try_from(taken).unwrap_or(0) * share, used);
        }
        left[at].1 = count;
    }
}

#[cfg(test)]
mod tests {
    use super::devices_needed;

    #[test]
    fn shares_are_packed_as_tightly_as_they_can_be() {
        assert_eq!(devices_needed(&[], 1000), 0);
        assert_eq!(devices_needed(&[(400, 5)], 1000), 3);
        assert_eq!(devices_needed(&[(1000, 2), (1, 1)], 1000), 3);
        // First fit needs three: 6+3, 5+3, 2+… ; two devices of 10 hold 6+4 and 5+3+2.
        assert_eq!(devices_needed(&[(6, 1), (5, 1), (4, 1), (3, 1), (2, 1)], 10), 2);
        assert_eq!(devices_needed(&[(5, 2), (3, 4), (4, 2)], 10), 3);
        assert_eq!(devices_needed(&[(11, 1)], 10), u64::from(u32::MAX));
    }

    #[test]
    fn many_shares_take_no_time() {
        assert_eq!(devices_needed(&[(1, 1_000_000), (999, 1_000_000)], 1000), 1_000_000);
    }
}
