//! Carries out a plan: compare-and-set on the revision it was made at. Its first wave is released at once, unless replicas that an earlier
//! plan stops may still be there: what they hold is not free, and they are waited for first.

use super::{Effect, Refusal};
use crate::state::{INDEX_MAX, Release, ReplicaId, Rollout, State, Step, WorkloadRecord};
use std::collections::{BTreeMap, BTreeSet};

/// A rollout that is under way is replaced: the plan was made with its replicas as they are now.
pub(super) fn apply(release: Release, state: &mut State) -> Result<Effect, Refusal> {
    if release.expected_revision != state.revision {
        return Err(Refusal::Stale { made_at: release.expected_revision, now: state.revision });
    }
    check_workloads(&release, state)?;
    check_steps(&release, state)?;
    let next_service_id = give_service_ids(&release, state)?;

    // Nothing fails from here on.
    state.next_service_id = next_service_id.1;
    for key in &release.objects_removed {
        state.objects.remove(key);
    }
    state.objects.extend(release.objects_put);
    if let Some(policies) = release.policies {
        state.policies = policies;
    }
    retire(state, &release.workloads);
    put_workloads(state, release.workloads, &next_service_id.0);
    state.revision += 1;
    let mut waves = release.waves;
    let leaving = leaving(state.rollout.take(), state);
    if leaving.is_empty() {
        waves.first().into_iter().for_each(|first| state.release_wave(first));
    } else {
        waves.insert(0, leaving);
    }
    state.rollout = (!waves.is_empty()).then_some(Rollout { revision: state.revision, waves, released: 1 });
    state.prune();
    Ok(Effect::Changed)
}

/// The stops that a rollout under way has released. Whether any of these replicas is still there only its node knows.
fn leaving(rollout: Option<Rollout>, state: &State) -> Vec<Step> {
    let Some(Rollout { waves, released, .. }) = rollout else { return Vec::new() };
    let gone = |step: &Step| matches!(step, Step::Stop { replica } if !state.replicas.contains_key(replica));
    waves.into_iter().take(released).flatten().filter(gone).collect()
}

fn contradiction<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::Contradiction(text))
}

fn check_workloads(release: &Release, state: &State) -> Result<(), Refusal> {
    for (name, new) in &release.workloads {
        let Some(template) = new.templates.get(&new.generation) else {
            return contradiction(format!("{name} has no template of its generation {}", new.generation));
        };
        match state.workloads.get(name) {
            None if new.service_id != 0 => {
                return contradiction(format!("{name} is new and claims service id {}", new.service_id));
            }
            Some(old) if new.service_id != 0 && new.service_id != old.service_id => {
                return contradiction(format!("{name} has service id {}, not {}", old.service_id, new.service_id));
            }
            Some(old) if old.generation > new.generation => {
                return contradiction(format!(
                    "{name} goes back from generation {} to {}",
                    old.generation, new.generation
                ));
            }
            Some(old) if old.generation == new.generation && old.templates.get(&old.generation) != Some(template) => {
                return contradiction(format!("{name} changes within generation {}", new.generation));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Goes through all the steps as if they were carried out: each must be possible when its turn comes.
fn check_steps(release: &Release, state: &State) -> Result<(), Refusal> {
    let mut running: BTreeSet<&ReplicaId> = state.replicas.keys().collect();
    for step in release.waves.iter().flatten() {
        let replica = step.replica();
        match step {
            Step::Start { node, .. } => {
                if !state.nodes.contains_key(node) {
                    return contradiction(format!("{replica} shall start on \"{node}\", which is no known node"));
                }
                if replica.index > INDEX_MAX {
                    return contradiction(format!("{replica}: {INDEX_MAX} is the highest index"));
                }
                if !running.insert(replica) {
                    return contradiction(format!("{replica} shall start and is there already"));
                }
            }
            Step::Stop { .. } if !running.remove(replica) => {
                return contradiction(format!("{replica} shall stop and is not there"));
            }
            Step::Update { .. } if !running.contains(replica) => {
                return contradiction(format!("{replica} shall be updated and is not there"));
            }
            _ => {}
        }
        if let Step::Start { generation, .. } | Step::Update { generation, .. } = step
            && release.workloads.get(&replica.workload).is_none_or(|workload| workload.generation != *generation)
        {
            return contradiction(format!("{replica} shall run generation {generation}, which is not its workload's"));
        }
    }
    match running.iter().find(|replica| !release.workloads.contains_key(&replica.workload)) {
        Some(left) => contradiction(format!("{left} is left running, though its workload is removed")),
        None => Ok(()),
    }
}

/// The ids of the new workloads, and the next one to give.
fn give_service_ids(release: &Release, state: &State) -> Result<(BTreeMap<String, u16>, u16), Refusal> {
    let mut next = state.next_service_id.max(1);
    let mut given = BTreeMap::new();
    for name in release.workloads.keys().filter(|name| !state.workloads.contains_key(*name)) {
        given.insert(name.clone(), next);
        next = next.checked_add(1).ok_or_else(|| Refusal::Exhausted("service".to_owned()))?;
    }
    Ok((given, next))
}

/// What the release does not name any more is kept until its last replica has stopped.
fn retire(state: &mut State, named: &BTreeMap<String, WorkloadRecord>) {
    for (name, workload) in &mut state.workloads {
        if !named.contains_key(name) {
            workload.wanted = 0;
            workload.unplaced = 0;
            state.retiring.insert(name.clone());
        }
    }
    state.retiring.retain(|name| !named.contains_key(name));
}

fn put_workloads(state: &mut State, named: BTreeMap<String, WorkloadRecord>, given: &BTreeMap<String, u16>) {
    for (name, mut new) in named {
        let generation = new.generation;
        new.templates.retain(|kept, _| *kept == generation);
        new.finished.clear();
        match state.workloads.remove(&name) {
            None => new.service_id = given.get(&name).copied().unwrap_or_default(),
            Some(old) => {
                new.service_id = old.service_id;
                if old.generation == generation {
                    new.finished = old.finished;
                }
                for (kept, template) in old.templates {
                    new.templates.entry(kept).or_insert(template);
                }
            }
        }
        state.workloads.insert(name, new);
    }
}
