//! Machines of a kind are interchangeable, and so are instances of an app: names are given to a placement so that little has to move.
//!
//! The pairs of a new group and a present machine with the most in common are taken greedily, which keeps at least half of what the best
//! assignment would (the usual bound for greedy matching by weight).

use super::{Fleet, Machine};
use std::collections::BTreeMap;

/// The same groups of apps on machines of the same kinds, renamed; the placement must be complete.
pub fn match_groups(fleet: &Fleet, placement: &[usize]) -> Vec<usize> {
    let now: Vec<Option<usize>> = fleet.initial.clone();
    let wanted: Vec<Option<usize>> = placement.iter().copied().map(Some).collect();
    let (present, groups) = (members(fleet, &now), members(fleet, &wanted));
    let named = name_groups(fleet, &present, &groups);

    // Of each app on each machine, as many stay as the group wants; the others fill what is left, in order.
    let mut open: Vec<BTreeMap<usize, usize>> = vec![BTreeMap::new(); fleet.machines.len()];
    for (group, machine) in named.iter().enumerate() {
        open[*machine] = groups[group].iter().map(|(app, instances)| (*app, instances.len())).collect();
    }
    let mut result = vec![usize::MAX; placement.len()];
    for (instance, machine) in now.iter().enumerate() {
        if let Some(machine) = machine
            && let Some(left) = open[*machine].get_mut(&fleet.instances[instance])
            && *left > 0
        {
            *left -= 1;
            result[instance] = *machine;
        }
    }
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); fleet.apps.len()];
    for (machine, open) in open.iter().enumerate() {
        open.iter().for_each(|(app, left)| places[*app].extend(std::iter::repeat_n(machine, *left)));
    }
    for (instance, place) in result.iter_mut().enumerate().filter(|(_, place)| **place == usize::MAX) {
        // As many places were opened for each app as it has instances.
        *place = places[fleet.instances[instance]].pop().unwrap_or(placement[instance]);
    }
    result
}

/// Per machine, the instances of each app.
fn members(fleet: &Fleet, placement: &[Option<usize>]) -> Vec<BTreeMap<usize, Vec<usize>>> {
    let mut members = vec![BTreeMap::<usize, Vec<usize>>::new(); fleet.machines.len()];
    for (instance, machine) in placement.iter().enumerate() {
        if let Some(machine) = machine {
            members[*machine].entry(fleet.instances[instance]).or_default().push(instance);
        }
    }
    members
}

/// For each group (named by the machine it was planned on) its machine of the same kind.
fn name_groups(
    fleet: &Fleet,
    present: &[BTreeMap<usize, Vec<usize>>],
    groups: &[BTreeMap<usize, Vec<usize>>],
) -> Vec<usize> {
    let mut holders: Vec<Vec<(usize, usize)>> = vec![Vec::new(); fleet.apps.len()];
    for (machine, held) in present.iter().enumerate() {
        held.iter().for_each(|(app, instances)| holders[*app].push((machine, instances.len())));
    }
    let mut pairs: Vec<(usize, usize, usize)> = Vec::new();
    let mut common = vec![0usize; fleet.machines.len()];
    for (group, apps) in groups.iter().enumerate() {
        let mut touched = Vec::new();
        for (app, instances) in apps {
            for (machine, count) in &holders[*app] {
                if common[*machine] == 0 {
                    touched.push(*machine);
                }
                common[*machine] += instances.len().min(*count);
            }
        }
        for machine in touched {
            if fleet.machines[machine] == fleet.machines[group] {
                pairs.push((common[machine], group, machine));
            }
            common[machine] = 0;
        }
    }
    pairs.sort_unstable_by_key(|(common, group, machine)| (std::cmp::Reverse(*common), *group, *machine));
    let mut machine_of = vec![None; groups.len()];
    let mut taken = vec![false; groups.len()];
    for (_, group, machine) in pairs {
        if machine_of[group].is_none() && !taken[machine] {
            machine_of[group] = Some(machine);
            taken[machine] = true;
        }
    }
    let mut free: BTreeMap<(u32, u32, Vec<u64>), Vec<usize>> = BTreeMap::new();
    let kind = |machine: &Machine| (machine.cpu, machine.memory, machine.flat.clone());
    for machine in (0..groups.len()).filter(|machine| !taken[*machine]) {
        free.entry(kind(&fleet.machines[machine])).or_default().push(machine);
    }
    // Groups that hold something come before the empty ones only by index: a free machine of their kind is as good as any.
    let mut name = |group: usize| free.get_mut(&kind(&fleet.machines[group])).and_then(Vec::pop).unwrap_or(group);
    machine_of.into_iter().enumerate().map(|(group, machine)| machine.unwrap_or_else(|| name(group))).collect()
}
