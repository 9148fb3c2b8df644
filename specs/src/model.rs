//! The typed model of the specification language (DESIGN §4). Data only.

use crate::{Bytes, CountOrPercent, CpuMillis, Micros, Millis, Span, Spanned};
use std::collections::BTreeMap;

/// Everything the sources say, with every reference checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// `node` blocks (offline inventory), by name.
    pub nodes: BTreeMap<String, Node>,
    /// `pool` blocks, by name.
    pub pools: BTreeMap<String, Pool>,
    /// `team` blocks, by name.
    pub teams: BTreeMap<String, Team>,
    /// `service`, `job` and `daemon` blocks, by full name `team/name`.
    pub workloads: BTreeMap<String, Workload>,
    /// `constraint` blocks, by name.
    pub constraints: BTreeMap<String, ConstraintRule>,
    /// `reserve` nodes.
    pub reserves: Vec<Reserve>,
    /// The `safety` statement, if one is given.
    pub safety: Option<Safety>,
    /// The `balance` statement, if one is given.
    pub balance: Option<Balance>,
    /// The `objective`, if one is given.
    pub objective: Option<Objective>,
    /// `load` nodes, by the full name of the workload they are about.
    pub loads: BTreeMap<String, Load>,
}

/// One top-level KDL node, before references are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Identifies it in the cluster: applying an item with the same key replaces the earlier one.
    pub key: ItemKey,
    /// The whole KDL node; its text is what the cluster stores.
    pub span: Span,
    /// What it says.
    pub body: ItemBody,
}

/// What an item is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKey {
    /// `node "n1"`.
    Node(String),
    /// `pool "general"`.
    Pool(String),
    /// `team "storefront"`.
    Team(String),
    /// Any kind of workload, by full name.
    Workload(String),
    /// `constraint "frontends"`.
    Constraint(String),
    /// `reserve survive-loss-of="zone"`.
    Reserve(String),
    /// The one `safety`.
    Safety,
    /// The one `balance`.
    Balance,
    /// The one `objective`.
    Objective,
    /// `load "storefront/web"`, by full name.
    Load(String),
}

/// The typed content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemBody {
    Node(Node),
    Pool(Pool),
    Team(Team),
    Workload(Box<Workload>),
    Constraint(ConstraintRule),
    Reserve(Reserve),
    Safety(Safety),
    Balance(Balance),
    Objective(Objective),
    Load(Load),
}

/// Labels: key to value.
pub type Labels = BTreeMap<String, Spanned<String>>;

/// A machine of the offline inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique name.
    pub name: Spanned<String>,
    /// The pool it belongs to.
    pub pool: Option<Spanned<String>>,
    /// Price per hour while it holds anything.
    pub price: Option<Spanned<Micros>>,
    /// What it has.
    pub capacity: Resources,
    /// `devices gpu=4`: pieces that replicas take whole, or one of them in part, by kind.
    pub devices: BTreeMap<String, Spanned<u32>>,
    /// Its labels; "node" (its name) and "pool" are implied.
    pub labels: Labels,
    /// Workloads keep off unless they tolerate each of these.
    pub taints: Vec<Spanned<String>>,
}

/// Amounts of resources: a capacity, a demand or a quota.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// `cpu=0.5`, in cores.
    pub cpu: Option<Spanned<CpuMillis>>,
    /// `memory="256MiB"`.
    pub memory: Option<Spanned<Bytes>>,
    /// `disk="10GiB"`.
    pub disk: Option<Spanned<Bytes>>,
    /// `replicas=100`: addresses of a node, replicas of a quota. Not allowed in a workload's demand (always 1).
    pub replicas: Option<Spanned<u64>>,
    /// Named extras: `gpu=2`.
    pub extras: BTreeMap<String, Spanned<u64>>,
}

/// `device gpu=2`, `device gpu=0.5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDemand {
    /// The whole node.
    pub span: Span,
    /// Of which kind.
    pub kind: Spanned<String>,
    /// How much.
    pub take: DeviceTake,
}

/// Whole devices, or a share of a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceTake {
    /// So many, none of them shared.
    Whole(u32),
    /// So many thousandths of one device, 1 to 999.
    Permille(u32),
}

/// A named set of like machines that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Unique name.
    pub name: Spanned<String>,
    /// What can be bought.
    pub instances: Vec<Instance>,
    /// Where.
    pub zones: Vec<Spanned<String>>,
    /// Fewest machines.
    pub min: Option<Spanned<u32>>,
    /// Most machines.
    pub max: Option<Spanned<u32>>,
    /// The whole `count` node, if there is one; what explanations point to.
    pub count: Option<Span>,
    /// Labels of every machine.
    pub labels: Labels,
}

/// A type of machine of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The provider's name for it.
    pub name: Spanned<String>,
    /// What it has.
    pub capacity: Resources,
    /// Price per hour. A type without one is an error of the specs.
    pub price: Option<Spanned<Micros>>,
    /// Of a burstable type: the share of its cpu that it sustains, in thousandths. Plans count on no more.
    pub burst_baseline_permille: Option<Spanned<u32>>,
}

/// `load "storefront/web" cpu=7.2`: what is asked of a workload now, as observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The full name of the workload.
    pub workload: Spanned<String>,
    /// Cpu that all its replicas use together.
    pub cpu: Spanned<CpuMillis>,
}

/// Who owns workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Unique name.
    pub name: Spanned<String>,
    /// Upper bounds on the sums over the team's workloads; the span is that of the `quota` node.
    pub quota: Option<Spanned<Resources>>,
}

/// Something to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `service`, `job` or `daemon`.
    pub kind: WorkloadKind,
    /// Its bare name.
    pub name: Spanned<String>,
    /// Its team; "default" when none is written.
    pub team: Option<Spanned<String>>,
    /// The image reference, as written.
    pub image: Spanned<String>,
    /// Replaces the image's entrypoint.
    pub command: Vec<Spanned<String>>,
    /// Replaces the image's arguments.
    pub args: Vec<Spanned<String>>,
    /// How many.
    pub replicas: Replicas,
    /// Reserved for each replica.
    pub resources: Resources,
    /// `device gpu=0.5`: devices each replica takes.
    pub device: Option<DeviceDemand>,
    /// What each replica may use at most; `None`, or a missing entry: as much as is reserved.
    pub limits: Option<Resources>,
    /// Ports it listens on.
    pub ports: Vec<Port>,
    /// Environment variables in order.
    pub env: Vec<(Spanned<String>, Spanned<String>)>,
    /// Configuration files to mount.
    pub configs: Vec<Mounted>,
    /// Secrets to hand in.
    pub secrets: Vec<Mounted>,
    /// How to tell that it works.
    pub health: Option<Health>,
    /// How to replace running replicas.
    pub update: Update,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Option<Spanned<Millis>>,
    /// Higher goes first. 0 when not written.
    pub priority: Option<Spanned<i32>>,
    /// How much moving one of its running replicas weighs. 1 when not written.
    pub move_weight: Option<Spanned<u32>>,
    /// For `applies-to` and for policies.
    pub labels: Labels,
    /// `all-or-nothing` (alone), or `all-or-nothing group="name"`.
    pub all_or_nothing: Option<AllOrNothing>,
    /// A job's retries after a failure before it counts as failed. 0 when not written.
    pub retries: Option<Spanned<u32>>,
    /// A job's schedule, cron syntax.
    pub schedule: Option<Spanned<String>>,
    /// Where it may go.
    pub place: Vec<PlaceRule>,
    /// Taints it puts up with.
    pub tolerates: Vec<Spanned<String>>,
}

impl Workload {
    /// The team's name, or "default".
    pub fn team_name(&self) -> &str {
        self.team.as_ref().map_or("default", |team| team.value.as_str())
    }

    /// `team/name`, unique over all kinds.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.team_name(), self.name.value)
    }
}

/// What kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Kept running.
    Service,
    /// Runs to completion.
    Job,
    /// One on each eligible node.
    Daemon,
}

impl WorkloadKind {
    /// "service", "job" or "daemon".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Job => "job",
            Self::Daemon => "daemon",
        }
    }
}

/// How many replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicas {
    /// `replicas 6`; the span is that of the number. Also when not written (1).
    Fixed(Spanned<u32>),
    /// `scale min=3 max=40 { target cpu=0.6 }`.
    Scale {
        /// The whole node.
        span: Span,
        /// Fewest.
        min: Spanned<u32>,
        /// Most.
        max: Spanned<u32>,
        /// Wanted use of cpu, in thousandths of what is reserved.
        target_cpu_permille: Option<Spanned<u32>>,
    },
    /// A daemon: one on each eligible node.
    PerNode,
}

/// `port "http" 8080 host=80 protocol="tcp"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Unique within the workload.
    pub name: Spanned<String>,
    /// The container's port, 1 to 65535.
    pub number: Spanned<u16>,
    /// The node's port, if one is claimed: a resource of capacity 1.
    pub host: Option<Spanned<u16>>,
    /// tcp unless written.
    pub protocol: Protocol,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A config or secret handed to a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The whole node.
    pub span: Span,
    /// Which config or secret.
    pub name: Spanned<String>,
    /// As a file, here.
    pub mount: Option<Spanned<String>>,
    /// As this environment variable.
    pub env: Option<Spanned<String>>,
}

/// `health http="/healthz" port="http" interval="5s"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The whole node.
    pub span: Span,
    /// Path to GET; `None`: a TCP connection is enough.
    pub http: Option<Spanned<String>>,
    /// Which of the workload's ports.
    pub port: Spanned<String>,
    /// Time between checks.
    pub interval: Option<Spanned<Millis>>,
}

/// `update max-unavailable=1 max-surge=1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// How many may be down at once because of us. 1 when not written.
    pub max_unavailable: Option<Spanned<CountOrPercent>>,
    /// How many may run beyond those wanted.
    pub max_surge: Option<Spanned<CountOrPercent>>,
}

/// `all-or-nothing`, alone or with others of a named group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllOrNothing {
    /// The whole node.
    pub span: Span,
    /// The group's name; all workloads that name it stand or fall together.
    pub group: Option<Spanned<String>>,
}

/// A statement of a `place` block or a `constraint` block, with the span of the whole statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceRule {
    /// The whole statement; what explanations point to.
    pub span: Span,
    /// What it says.
    pub kind: PlaceKind,
    /// `weight=`: soft; otherwise hard. Always present for `prefer`.
    pub weight: Option<Spanned<u32>>,
}

/// The families of placement statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceKind {
    /// `require …`: only nodes that pass every test.
    Require(Vec<LabelTest>),
    /// `prefer … weight=5`: rather nodes that pass every test.
    Prefer(Vec<LabelTest>),
    /// `spread over="zone" max-skew=1` (1 when not written).
    Spread { over: Spanned<String>, max_skew: Option<Spanned<u32>> },
    /// `separate within="node"`, `limit=2` for two.
    SeparateWithin { within: Spanned<String>, limit: Option<Spanned<u32>> },
    /// `separate from="batch" within="node"`; the full name of the other workload.
    SeparateFrom { from: Spanned<String>, within: Spanned<String> },
    /// `near "cache" within="zone"`; the full name of the other workload.
    Near { to: Spanned<String>, within: Spanned<String> },
    /// `survive loss-of="zone" keep=4`.
    Survive { loss_of: Spanned<String>, keep: Spanned<CountOrPercent> },
}

/// A test of one label of a node: `arch="arm64"`, `zone in a b`, `zone not-in c`, `gpu exists`, `gpu absent`, `kernel ">=" "6.1"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelTest {
    /// The label's key. "node" and "pool" always exist where known.
    pub key: Spanned<String>,
    /// What its value must be.
    pub op: LabelOp,
}

/// How a label is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelOp {
    /// The label is there and has one of these values (`key=value`: one).
    In(Vec<Spanned<String>>),
    /// The label is missing or has none of these values.
    NotIn(Vec<Spanned<String>>),
    /// The label is there.
    Exists,
    /// The label is missing.
    Absent,
    /// The label is there and compares so, as a dotted version ("6.10" > "6.9").
    Version(VersionOp, Spanned<String>),
}

/// How versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionOp {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
}

/// A platform team's rule over many workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintRule {
    /// Unique name.
    pub name: Spanned<String>,
    /// `applies-to tier="frontend"`: workloads that have all these labels ("team", "kind" and "name" count as labels too).
    pub applies_to: Labels,
    /// What holds for each of them.
    pub place: Vec<PlaceRule>,
}

/// `reserve survive-loss-of="zone"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// The whole node.
    pub span: Span,
    /// The label that divides the nodes.
    pub loss_of: Spanned<String>,
    /// `weight=`: soft; otherwise hard.
    pub weight: Option<Spanned<u32>>,
}

/// `safety cpu=0.8 memory=0.9 weight=2`: how full a machine should be at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Safety {
    /// The whole node.
    pub span: Span,
    /// Thousandths of a machine's cpu.
    pub cpu_permille: Option<Spanned<u32>>,
    /// Thousandths of a machine's memory.
    pub memory_permille: Option<Spanned<u32>>,
    /// Thousandths of a machine's disk.
    pub disk_permille: Option<Spanned<u32>>,
    /// What each core or GiB beyond costs. 1 when not written.
    pub weight: Option<Spanned<u32>>,
}

/// `balance cpu=1 memory="4GiB" weight=1`: what is left of cpu and memory on a machine should keep this ratio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The whole node.
    pub span: Span,
    /// So much cpu …
    pub cpu: Spanned<CpuMillis>,
    /// … goes with so much memory.
    pub memory: Spanned<Bytes>,
    /// What each core or GiB costs that is left without the other. 1 when not written.
    pub weight: Option<Spanned<u32>>,
}

/// `objective { strategy "pack"; move-price 3 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objective {
    /// The whole node.
    pub span: Span,
    /// How replicas should lie.
    pub strategy: Strategy,
    /// What one move must at least save per hour, in the unit of `price`.
    pub move_price: Option<Spanned<Micros>>,
}

/// How replicas should lie when nothing else decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Fewest, fullest nodes.
    #[default]
    Pack,
    /// Lowest peaks.
    Spread,
}
