//! The limits between apps, looked up from either side.

use super::{Fleet, Limit};

/// For each app, the others it has limits with.
pub(super) struct Partners {
    /// Most instances of an app on one machine.
    alone: Vec<u32>,
    /// Per app, ascending by partner.
    pairs: Vec<Vec<Pair>>,
    /// Per app that has any pair, a bit for each app it has limits with: most lookups end there.
    known: Vec<Vec<u64>>,
}

/// Two apps on one machine.
#[derive(Clone, Copy)]
struct Pair {
    partner: u32,
    /// Most of this app beside the partner.
    own_most: u32,
    /// Most of the partner beside this app.
    partner_most: u32,
}

/// How many of an app lie on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) app: u32,
    pub(super) count: u32,
}

impl Partners {
    pub(super) fn new(fleet: &Fleet) -> Partners {
        let mut alone = vec![u32::MAX; fleet.apps.len()];
        let mut pairs: Vec<Vec<Pair>> = vec![Vec::new(); fleet.apps.len()];
        for Limit { beside, app, most } in &fleet.limits {
            if beside == app {
                alone[*app] = alone[*app].min(*most);
            } else {
                pairs[*app].push(Pair { partner: *beside as u32, own_most: *most, partner_most: u32::MAX });
                pairs[*beside].push(Pair { partner: *app as u32, own_most: u32::MAX, partner_most: *most });
            }
        }
        for list in &mut pairs {
            list.sort_unstable_by_key(|pair| pair.partner);
            list.dedup_by(|later, kept| {
                let same = later.partner == kept.partner;
                if same {
                    kept.own_most = kept.own_most.min(later.own_most);
                    kept.partner_most = kept.partner_most.min(later.partner_most);
                }
                same
            });
        }
        let words = fleet.apps.len().div_ceil(64);
        let bits = |list: &Vec<Pair>| {
            let mut bits = vec![0u64; if list.is_empty() { 0 } else { words }];
            list.iter().for_each(|pair| bits[pair.partner as usize / 64] |= 1 << (pair.partner % 64));
            bits
        };
        let known = pairs.iter().map(bits).collect();
        Partners { alone, pairs, known }
    }

    /// Whether a machine that holds `held` may take one more of `app`, once one of `less` has left.
    pub(super) fn allow(&self, held: &[Held], app: usize, less: usize) -> bool {
        let known = &self.known[app];
        let mut own = 1;
        let mut limited = false;
        for held in held {
            if held.app as usize == app {
                own += held.count;
            } else if let Some(word) = known.get(held.app as usize / 64) {
                limited |= (word >> (held.app % 64)) & 1 == 1;
            }
        }
        own -= u32::from(less == app);
        own <= self.alone[app] && (!limited || self.pairs_allow(held, app, less, own))
    }

    fn pairs_allow(&self, held: &[Held], app: usize, less: usize, own: u32) -> bool {
        let pairs = &self.pairs[app];
        held.iter().all(|held| match pairs.binary_search_by_key(&held.app, |pair| pair.partner) {
            Ok(at) => {
                let count = held.count - u32::from(held.app as usize == less);
                count == 0 || (own <= pairs[at].own_most && count <= pairs[at].partner_most)
            }
            Err(_) => true,
        })
    }
}
