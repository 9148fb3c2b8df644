//! A first placement: the largest instances first, each to the best of a sample of the machines that are on.

use super::random::Random;
use super::state::State;
use super::{Fleet, FleetError};

/// Machines looked at for each instance, before all of them are.
pub(super) const SAMPLE: usize = 16;
/// What a full machine is worse than an empty one while CPU costs nothing: spreads, and keeps room for what comes.
const FULLNESS_PRICE: f32 = 0.01;

/// Every machine, the one with the most CPU first.
pub(super) fn by_size(fleet: &Fleet) -> Vec<usize> {
    let mut machines: Vec<usize> = (0..fleet.machines.len()).collect();
    machines.sort_by_key(|machine| (std::cmp::Reverse(fleet.machines[*machine].cpu), *machine));
    machines
}

/// Places every instance on the first `on` machines of [`by_size`], or on the next ones where those have no room.
pub(super) fn start<'a>(fleet: &'a Fleet, on: usize, random: &mut Random) -> Result<State<'a>, FleetError> {
    let mut state = State::new(fleet)?;
    let machines = by_size(fleet);
    let (open, closed) = machines.split_at(on.min(machines.len()));
    for instance in largest_first(fleet) {
        let app = fleet.instances[instance];
        let sample: Vec<usize> = (0..SAMPLE.min(open.len())).map(|_| open[random.below(open.len())]).collect();
        let to = best(&state, app, &sample).or_else(|| best(&state, app, open)).or_else(|| best(&state, app, closed));
        state.relocate(instance, to.ok_or(FleetError::NoRoom(instance))?);
    }
    Ok(state)
}

/// By the larger of the shares of a mean machine's CPU and memory, so that what is hard to place has the choice.
fn largest_first(fleet: &Fleet) -> Vec<usize> {
    let total = |of: fn(&super::Machine) -> u32| fleet.machines.iter().map(|m| u64::from(of(m))).sum::<u64>().max(1);
    let (cpu, memory) = (total(|m| m.cpu) as f64, total(|m| m.memory) as f64);
    let sum = |curve: &[u32]| curve.iter().map(|amount| u64::from(*amount)).sum::<u64>() as f64;
    let size: Vec<f64> = fleet.apps.iter().map(|app| (sum(&app.cpu) / cpu).max(sum(&app.memory) / memory)).collect();
    let mut order: Vec<usize> = (0..fleet.instances.len()).collect();
    order.sort_by(|a, b| size[fleet.instances[*b]].total_cmp(&size[fleet.instances[*a]]).then(a.cmp(b)));
    order
}

/// The machine on which an instance of `app` costs least, with some regard to how full it is.
pub(super) fn best(state: &State, app: usize, machines: &[usize]) -> Option<usize> {
    let nothing = state.nothing();
    let score = |machine: &usize| {
        let change = state.change(*machine, nothing, app) + FULLNESS_PRICE * state.fullness(*machine);
        (change.is_finite() && state.allows(*machine, nothing, app)).then_some((change, *machine))
    };
    machines.iter().filter_map(score).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, machine)| machine)
}
