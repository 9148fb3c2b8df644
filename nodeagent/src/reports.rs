//! What has to be told to the server: the statuses that differ from those it was told. Pure.

use crate::reconcile::{Container, Runtime, Seen};
use crate::replica::ReplicaId;
use crate::status::{Subject, status};
use crate::world::World;
use hyphae_api::v1::{ReplicaReport, ReplicaState, ReplicaStatus};
use std::collections::BTreeMap;

/// Remembers what was told.
#[derive(Debug)]
pub struct Reports {
    node: String,
    /// As of the last look, with the times their states were entered.
    present: BTreeMap<ReplicaId, ReplicaStatus>,
    /// As of the last report; `None`: the server has to be told everything.
    told: Option<BTreeMap<ReplicaId, ReplicaStatus>>,
}

impl Reports {
    /// Nothing was told yet.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), present: BTreeMap::new(), told: None }
    }

    /// A new stream, or one that lost something: the next report is complete.
    pub fn tell_everything(&mut self) {
        self.told = None;
    }

    /// The report that is due, if one is. Count it as told with `told`, once it is on its way.
    pub fn due(&mut self, world: &World, now_millis: u64) -> Option<ReplicaReport> {
        self.look(world, now_millis);
        // Before containers were listed once, nothing complete can be said.
        let Some(told) = &self.told else {
            return (world.observed.runtime == Runtime::Listed).then(|| ReplicaReport {
                complete: true,
                replicas: self
                    .present
                    .values()
                    .filter(|status| status.state() != ReplicaState::Stopped)
                    .cloned()
                    .collect(),
            });
        };
        let replicas: Vec<ReplicaStatus> = self
            .present
            .iter()
            .filter(|(id, status)| told.get(*id) != Some(*status))
            .map(|(_, status)| status.clone())
            .collect();
        (!replicas.is_empty()).then_some(ReplicaReport { complete: false, replicas })
    }

    /// The report is on its way.
    pub fn told(&mut self) {
        self.told = Some(self.present.clone());
    }

    /// The present status of every replica.
    pub fn statuses(&self) -> impl Iterator<Item = &ReplicaStatus> {
        self.present.values()
    }

    fn look(&mut self, world: &World, now_millis: u64) {
        let wanted = world.wanted.as_ref().map(|share| &share.replicas);
        let known = world.observed.replicas.keys().chain(wanted.into_iter().flat_map(BTreeMap::keys));
        // One that never came to have anything here (its image could not be pulled) ends without a trace; its end is told all the same.
        let told = self.told.iter().flatten();
        let unfinished = told.filter(|(_, status)| status.state() != ReplicaState::Stopped).map(|(id, _)| id);
        let mut present = BTreeMap::new();
        for id in known.chain(unfinished) {
            let wanted = wanted.and_then(|wanted| wanted.get(id)).map(|wanted| &**wanted);
            let subject = Subject {
                id,
                node: &self.node,
                wanted,
                seen: world.observed.replicas.get(id),
                image: wanted.and_then(|wanted| world.observed.images.get(&wanted.spec.image)),
                runtime: world.observed.runtime,
            };
            // An end is told once, with its exit code; until it is collected, a moment later, the replica is as it was.
            let being_collected = subject.seen.is_some_and(is_being_collected);
            if let (true, Some(before)) = (being_collected, self.present.get(id)) {
                present.insert(id.clone(), before.clone());
                continue;
            }
            let mut status = status(&subject);
            let before = self.present.get(id).filter(|before| before.state == status.state);
            status.changed_unix_millis = before.map_or(now_millis, |before| before.changed_unix_millis);
            present.insert(id.clone(), status);
        }
        self.present = present;
    }
}

/// Ended, and collecting it has not failed.
fn is_being_collected(seen: &Seen) -> bool {
    matches!(seen.container, Container::Exited { .. }) && seen.stopping.is_none() && seen.hold_until_millis == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::WantedShare;
    use hyphae_api::v1::{Replica, Share};

    #[test]
    fn the_end_of_a_replica_that_never_had_anything_here_is_told_once() {
        let replica = Replica {
            workload: "a/b".into(),
            generation: 1,
            kind: "service".into(),
            image: "registry.example/b:1".into(),
            address: "fd00::1".into(),
            ..Replica::default()
        };
        let share = |replicas: Vec<Replica>| WantedShare::read(&Share { revision: 1, replicas });
        let mut world = World::new(Some(share(vec![replica])), Vec::new());
        world.observed.runtime = Runtime::Listed;
        let mut reports = Reports::new("n1");
        let mut states = |world: &World| {
            let report = reports.due(world, 0)?;
            reports.told();
            Some(report.replicas.iter().map(ReplicaStatus::state).collect::<Vec<_>>())
        };
        assert_eq!(states(&world), Some(vec![ReplicaState::Pending]));
        world.wanted = Some(share(Vec::new()));
        assert_eq!(states(&world), Some(vec![ReplicaState::Stopped]));
        assert_eq!(states(&world), None);
    }
}
