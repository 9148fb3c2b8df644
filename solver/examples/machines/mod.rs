//! The made-up machines of `synthetic` and `rate`, and their dice.

pub(crate) const GIB: u64 = 1 << 30;

/// Cores, GiB, GPUs, price.
pub(crate) const TYPES: [(u64, u64, u64, u64); 8] = [
    (4, 16, 0, 150_000),
    (8, 16, 0, 260_000),
    (8, 32, 0, 300_000),
    (16, 32, 0, 500_000),
    (16, 64, 0, 580_000),
    (32, 128, 0, 1_100_000),
    (8, 61, 1, 900_000),
    (32, 244, 4, 3_600_000),
];

/// A linear congruential generator: the same made-up problems everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}
