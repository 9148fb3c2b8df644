//! Which machines are not worth being on.
//!
//! A core in slot t is worth what it costs on a machine of the largest kind: the mean slope λ\[t\] there. What a machine holds is then worth
//! Σ λ\[t\] · used\[t\], and if the machines of the smallest kind cost more than that on average, it is cheaper to be without one: the derivative
//! of the cost by their number, at a constant quality of packing.

use super::random::Random;
use super::start::{SAMPLE, best};
use super::state::State;

/// Closes up to `most` of the least valuable machines of the smallest kind in `open`, as long as that kind is worth less than it costs.
pub(super) fn close_worst(state: &mut State, open: &mut Vec<usize>, most: usize, random: &mut Random) {
    let fleet = state.fleet;
    let size = |machine: &usize| fleet.machines[*machine].cpu;
    let (Some(largest), Some(smallest)) = (open.iter().map(size).max(), open.iter().map(size).min()) else { return };
    if largest == smallest {
        return;
    }
    let worth = state.mean_slopes(open.iter().copied().filter(|machine| size(machine) == largest));
    let small = open.iter().copied().filter(|machine| size(machine) == smallest);
    let mut values: Vec<(f64, usize)> = small
        .filter(|machine| !state.on(*machine).is_empty())
        .map(|machine| (state.value(machine, &worth) - state.machine_cost(machine), machine))
        .collect();
    let mean = values.iter().map(|(value, _)| value).sum::<f64>() / values.len().max(1) as f64;
    if mean >= 0.0 {
        return;
    }
    values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (_, machine) in values.into_iter().take(most) {
        if let Some(position) = open.iter().position(|other| *other == machine) {
            open.swap_remove(position);
            if !empty(state, machine, open, random) {
                open.push(machine);
            }
        }
    }
}

/// Moves everything on a machine to the best of a sample of others; whether all of it found a place.
fn empty(state: &mut State, machine: usize, others: &[usize], random: &mut Random) -> bool {
    let mut leaving: Vec<u32> = state.on(machine).to_vec();
    leaving.sort_unstable();
    leaving.into_iter().all(|instance| {
        let instance = instance as usize;
        let sample: Vec<usize> = (0..8 * SAMPLE).map(|_| others[random.below(others.len())]).collect();
        let to = best(state, state.app(instance), &sample);
        to.is_some_and(|to| {
            state.relocate(instance, to);
            true
        })
    })
}
