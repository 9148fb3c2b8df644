//! How many replicas a workload that scales wants: what is asked of it now, divided by what one replica should bear.
//!
//! ```text
//! wanted = clamp(⌈load / (target × cpu of one replica)⌉, min, max)      without a load: min
//! ```
//!
//! Where a `survive` needs more replicas than the load does, the program may place up to `max`: those beyond `wanted` are its own decision.

use super::program::{Program, rules_of};
use super::sources::Merged;
use crate::plan::Scaled;
use hyphae_solver::Placed;
use hyphae_specs::{PlaceKind, Replicas, Workload};

/// What a `scale` comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaling {
    pub(super) min: u32,
    pub(super) max: u32,
    /// Replicas for the load, within the bounds.
    pub(super) wanted: u32,
    /// All its replicas together, when it is known.
    pub(super) load_cpu_millis: Option<u64>,
    /// The share of a replica's reserved cpu that should be used, in thousandths.
    pub(super) target_cpu_permille: u32,
}

/// The scaling of a workload; `None` when its number of replicas is fixed.
pub(super) fn scaling(merged: &Merged, name: &str, workload: &Workload) -> Option<Scaling> {
    let Replicas::Scale { min, max, target_cpu_permille, .. } = &workload.replicas else { return None };
    let (min, max) = (min.value, max.value);
    let target_cpu_permille = target_cpu_permille.as_ref().map_or(1000, |target| target.value);
    let cpu_millis = workload.resources.cpu.as_ref().map_or(0, |cpu| cpu.value.0);
    let load_cpu_millis = merged.model.loads.get(name).map(|load| load.cpu.value.0);
    let wanted = load_cpu_millis.map_or(min, |load| replicas_for(load, target_cpu_permille, cpu_millis, min));
    Some(Scaling { min, max, wanted: wanted.clamp(min, max.max(min)), load_cpu_millis, target_cpu_permille })
}

/// How many replicas bear a load; `unknown` where they reserve no cpu.
fn replicas_for(load_millis: u64, target_permille: u32, cpu_millis: u64, unknown: u32) -> u32 {
    let one_micros = u128::from(target_permille) * u128::from(cpu_millis);
    if one_micros == 0 {
        return unknown;
    }
    u32::try_from((u128::from(load_millis) * 1000).div_ceil(one_micros)).unwrap_or(u32::MAX)
}

/// Replicas beyond those wanted that the program may place.
pub(super) fn surplus_max(merged: &Merged, name: &str, workload: &Workload) -> u32 {
    match scaling(merged, name, workload) {
        Some(scaling) if survivals(merged, workload).next().is_some() => scaling.max.saturating_sub(scaling.wanted),
        _ => 0,
    }
}

/// The labels whose loss a workload shall survive.
fn survivals<'a>(merged: &'a Merged, workload: &'a Workload) -> impl Iterator<Item = &'a str> {
    rules_of(workload, merged).filter_map(|rule| match &rule.kind {
        PlaceKind::Survive { loss_of, .. } => Some(loss_of.value.as_str()),
        _ => None,
    })
}

/// Every workload that scales, as the plan shows it.
pub(super) fn scaled(merged: &Merged, program: &Program, placed: &[Placed]) -> Vec<Scaled> {
    let placed_of = super::placed_of(program, placed);
    let one = |(position, (name, workload)): (usize, (&String, &Workload))| {
        let Scaling { min, max, wanted, load_cpu_millis, target_cpu_permille } = scaling(merged, name, workload)?;
        let placed = placed_of[position];
        let survives = if placed > wanted { survivals(merged, workload).map(str::to_owned).collect() } else { vec![] };
        let workload = name.clone();
        Some(Scaled { workload, load_cpu_millis, target_cpu_permille, min, max, wanted, placed, survives })
    };
    merged.model.workloads.iter().enumerate().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::replicas_for;

    #[test]
    fn a_load_is_rounded_up_to_whole_replicas() {
        assert_eq!(replicas_for(7_200, 600, 1_000, 3), 12);
        assert_eq!(replicas_for(7_201, 600, 1_000, 3), 13);
        assert_eq!(replicas_for(0, 600, 1_000, 3), 0);
        assert_eq!(replicas_for(100_000_000, 1, 1, 3), u32::MAX);
        assert_eq!(replicas_for(1_000, 600, 0, 3), 3);
    }
}
