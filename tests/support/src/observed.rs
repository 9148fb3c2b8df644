//! What `hyphae status --format json` says, and the processes behind it.

use crate::process::Finished;
use crate::remains;
use crate::wait::try_wait_until;
use crate::{Dev, TestContainerd};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

/// One replica, as the server says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its index.
    pub index: u64,
    /// Its state in lower case: "running", "backoff", …
    pub state: String,
    /// Its address, once it has one.
    pub address: Option<Ipv6Addr>,
    /// Of its workload's spec.
    pub generation: u64,
    /// For people.
    pub reason: String,
    /// How often it was started again.
    pub restarts: u64,
    /// Of its last exit.
    pub exit_code: Option<i64>,
    /// Of its last exit.
    pub oom_killed: bool,
    /// Of its output, when it has failed.
    pub last_lines: Vec<String>,
}

impl Replica {
    fn read(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| json[key].as_u64().unwrap_or_default();
        let lines = json["last_lines"].as_array().cloned().unwrap_or_default();
        Self {
            index: number("index"),
            state: text("state").to_lowercase(),
            address: text("address").parse().ok(),
            generation: number("generation"),
            reason: text("reason"),
            restarts: number("restarts"),
            exit_code: json["exit_code"].as_i64(),
            oom_killed: json["oom_killed"] == true,
            last_lines: lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect(),
        }
    }

    /// Where its port is.
    ///
    /// # Panics
    /// When it has no address.
    pub fn socket(&self, port: u16) -> SocketAddr {
        (self.address.unwrap_or_else(|| panic!("no address: {self:?}")), port).into()
    }
}

impl Dev {
    /// The status document.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn status(&self) -> Value {
        let status = self.run(["status", "--format", "json"]).success();
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {}", status.stdout))
    }

    /// The replicas of a workload, by index; none when there is no such workload.
    pub fn replicas(&self, workload: &str) -> Vec<Replica> {
        let status = self.status();
        let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
        let found = workloads.iter().find(|one| one["name"] == workload).cloned().unwrap_or_default();
        let mut replicas: Vec<Replica> = found["replicas"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Replica::read)
            .filter(|one| one.state != "stopped")
            .collect();
        replicas.sort_by_key(|replica| replica.index);
        replicas
    }

    /// Waits until exactly so many replicas are there and all of them run.
    ///
    /// # Panics
    /// When that does not happen within 60 s, with what there is instead.
    #[track_caller]
    pub fn wait_running(&self, workload: &str, count: usize) -> Vec<Replica> {
        self.wait_for(workload, &format!("{count} running"), |replicas| {
            replicas.len() == count && replicas.iter().all(|replica| replica.state == "running")
        })
    }

    /// Waits until the replicas of a workload are as wanted.
    ///
    /// # Panics
    /// When that does not happen within 60 s, with what there is instead.
    #[track_caller]
    pub fn wait_for(&self, workload: &str, what: &str, good: impl Fn(&[Replica]) -> bool) -> Vec<Replica> {
        let found = try_wait_until(Duration::from_secs(60), || {
            let replicas = self.replicas(workload);
            good(&replicas).then_some(replicas)
        });
        found
            .unwrap_or_else(|| panic!("waited in vain for {workload}: {what}; there is {:#?}", self.replicas(workload)))
    }

    /// Applies spec text without asking, as a file in the directory where commands run.
    pub fn apply(&self, name: &str, text: &str) -> Finished {
        self.write(name, text);
        self.run(["apply", "--yes", "--timeout", "60s", name])
    }

    /// The first processes of all replicas that containerd runs, by container id.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        let places = [Some(self.path()), self.containerd().map(TestContainerd::path)];
        places.into_iter().flatten().flat_map(remains::tasks).collect()
    }

    /// The first process of one replica.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub fn pid_of(&self, workload: &str, index: u64) -> u32 {
        let start = format!("{}-{index}-", workload.replace('/', "-"));
        let found = self.pids().into_iter().find(|(id, _)| id.starts_with(&start));
        found.unwrap_or_else(|| panic!("no container {start}…; there are {:?}", self.pids())).1
    }
}
