//! How many devices a set of shares needs, and which device holds which: bin packing, exactly as far as a bounded search goes.

/// Steps of the exact search; beyond them the best packing found counts, which errs on the side of "needs more".
const STEPS_MAX: usize = 20_000;
/// More devices are packed largest first, without a search: machines have a few.
const DEVICES_MAX: u64 = 64;

/// What lies on the devices of a packing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Devices in use.
    pub(crate) devices: u64,
    /// What one device holds (share, how many), and how many devices hold just that.
    pub(crate) fillings: Vec<(Vec<(u32, u64)>, u64)>,
}

/// The least number of devices of `parts` parts that hold `shares` (parts, how many), no share lying on two. A share larger
/// than a device never fits: it counts as `u32::MAX` devices.
pub(crate) fn devices_needed(shares: &[(u32, u64)], parts: u32) -> u64 {
    match merged(shares).as_slice() {
        [] => 0,
        [(share, _), ..] if *share > parts => u64::from(u32::MAX),
        [(share, count)] => count.div_ceil(u64::from(parts / share)),
        sizes => searched(sizes, parts).devices,
    }
}

/// A packing with as many devices as [`devices_needed`] says; empty when a share is larger than a device.
pub(crate) fn packing(shares: &[(u32, u64)], parts: u32) -> Packing {
    let sizes = merged(shares);
    if sizes.first().is_none_or(|(share, _)| *share > parts) {
        return Packing::default();
    }
    searched(&sizes, parts)
}

/// Each share once, descending.
fn merged(shares: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let mut sizes: Vec<(u32, u64)> = Vec::new();
    let mut sorted: Vec<(u32, u64)> =
        shares.iter().copied().filter(|(share, count)| *share > 0 && *count > 0).collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    for (share, count) in sorted {
        match sizes.last_mut() {
            Some((last, many)) if *last == share => *many = many.saturating_add(count),
            _ => sizes.push((share, count)),
        }
    }
    sizes
}

/// Several sizes, descending, each once, none larger than a device.
fn searched(sizes: &[(u32, u64)], parts: u32) -> Packing {
    let best = first_fit(sizes, parts);
    let least = least_devices(sizes, parts);
    if best.devices == least || best.devices > DEVICES_MAX {
        return best;
    }
    let mut search = Search { parts, best, least, steps: STEPS_MAX, path: Vec::new(), open: vec![0; sizes.len()] };
    search.device(&mut sizes.to_vec());
    search.best
}

/// A lower bound (L2 of Martello, Toth 1990): for a threshold t, a share above `parts − t` has a device of its own in which nothing of t or
/// more fits.
fn least_devices(sizes: &[(u32, u64)], parts: u32) -> u64 {
    let half = sizes.iter().map(|(share, _)| *share).filter(|share| *share <= parts / 2);
    let bound = |t: u32| {
        let large: u128 = sizes.iter().filter(|(s, _)| *s > parts - t).map(|(_, count)| u128::from(*count)).sum();
        let middle = sizes.iter().filter(|(s, _)| *s >= t && *s <= parts - t);
        let sum: u128 = middle.map(|(share, count)| u128::from(*share) * u128::from(*count)).sum();
        large + sum.div_ceil(u128::from(parts))
    };
    let least = half.chain([0]).map(bound).max().unwrap_or(0);
    u64::try_from(least).unwrap_or(u64::MAX)
}

/// First fit, largest first.
fn first_fit(sizes: &[(u32, u64)], parts: u32) -> Packing {
    let mut left = sizes.to_vec();
    let mut packing = Packing::default();
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
        packing.devices = packing.devices.saturating_add(alike);
        packing.fillings.push((filling(sizes, &taken), alike));
    }
    packing
}

/// The shares that are there at all.
fn filling(sizes: &[(u32, u64)], taken: &[u64]) -> Vec<(u32, u64)> {
    sizes.iter().zip(taken).filter(|(_, taken)| **taken > 0).map(|((share, _), taken)| (*share, *taken)).collect()
}

struct Search {
    parts: u32,
    best: Packing,
    least: u64,
    steps: usize,
    /// The devices that are filled, and the one that is being filled: per size, how many.
    path: Vec<Vec<u64>>,
    open: Vec<u64>,
}

impl Search {
    /// Fills one device after the other; each begins with the largest share that is left.
    fn device(&mut self, left: &mut Vec<(u32, u64)>) {
        let used = self.path.len() as u64;
        let total: u128 = left.iter().map(|(share, count)| u128::from(*share) * u128::from(*count)).sum();
        if total == 0 {
            if used < self.best.devices {
                let fillings = self.path.iter().map(|taken| (filling(left, taken), 1)).collect();
                self.best = Packing { devices: used, fillings };
            }
            return;
        }
        let more = u64::try_from(total.div_ceil(u128::from(self.parts))).unwrap_or(u64::MAX);
        if self.steps == 0 || self.best.devices == self.least || used.saturating_add(more) >= self.best.devices {
            return;
        }
        self.steps -= 1;
        let Some(first) = left.iter().position(|(_, count)| *count > 0) else { return };
        let before = std::mem::replace(&mut self.open, vec![0; left.len()]);
        left[first].1 -= 1;
        self.open[first] = 1;
        self.fill(left, first, self.parts - left[first].0);
        left[first].1 += 1;
        self.open = before;
    }

    /// Adds shares from position `at` on to the open device, as many of each as possible first.
    fn fill(&mut self, left: &mut Vec<(u32, u64)>, at: usize, free: u32) {
        let next = (at..left.len()).find(|at| left[*at].1 > 0 && left[*at].0 <= free);
        let Some(at) = next else {
            self.path.push(self.open.clone());
            self.device(left);
            self.path.pop();
            return;
        };
        let (share, count) = left[at];
        let most = count.min(u64::from(free / share));
        for taken in (0..=most).rev() {
            if self.steps == 0 {
                break;
            }
            left[at].1 = count - taken;
            self.open[at] += taken;
            self.fill(left, at + 1, free - u32::try_from(taken).unwrap_or(0) * share);
            self.open[at] -= taken;
        }
        left[at].1 = count;
    }
}

#[cfg(test)]
mod tests {
    use super::{devices_needed, packing};

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

    #[test]
    fn packings_hold_every_share_once_and_no_device_too_much() {
        let shares = [(810, 3), (470, 5), (320, 4), (160, 2), (50, 3)];
        let packed = packing(&shares, 1000);
        assert_eq!(packed.devices, devices_needed(&shares, 1000));
        assert_eq!(packed.devices, packed.fillings.iter().map(|(_, alike)| alike).sum::<u64>());
        for (share, count) in shares {
            let of = |filling: &[(u32, u64)]| filling.iter().filter(|(s, _)| *s == share).map(|(_, c)| c).sum::<u64>();
            assert_eq!(packed.fillings.iter().map(|(filling, alike)| of(filling) * alike).sum::<u64>(), count);
        }
        let fits = |filling: &[(u32, u64)]| filling.iter().map(|(s, c)| u64::from(*s) * c).sum::<u64>() <= 1000;
        assert!(packed.fillings.iter().all(|(filling, _)| fits(filling)));
    }

    #[test]
    fn a_thousand_devices_are_not_searched() {
        assert_eq!(devices_needed(&[(335, 1_000_000), (334, 1_000_000)], 1000), 1_000_000);
    }
}
