//! Random numbers for searches that must be repeatable: no source but the seed.

/// Where searches begin.
pub(crate) const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// xorshift64*: the choices of a search, repeatable.
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (((self.roll() >> 32) * n as u64) >> 32) as usize
    }

    /// Between 0 and 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn of(&mut self, list: &[u32]) -> Option<usize> {
        (!list.is_empty()).then(|| list[self.below(list.len())] as usize)
    }

    /// Moves `many` random entries to the front of `list` and keeps only them.
    pub(crate) fn keep(&mut self, list: &mut Vec<usize>, many: usize) {
        for at in 0..many.min(list.len()) {
            let other = at + self.below(list.len() - at);
            list.swap(at, other);
        }
        list.truncate(many);
    }
}
