//! The challenge's own view of an instance: its file format, its hard constraints and its cost, straight from its definition.

/// A machine of the file.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) neighborhood: usize,
    pub(crate) location: usize,
    pub(crate) capacity: Vec<u64>,
    pub(crate) safety: Vec<u64>,
    pub(crate) move_cost_to: Vec<u32>,
}

/// A service of the file.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) spread_min: u32,
    pub(crate) depends_on: Vec<usize>,
    pub(crate) processes: Vec<usize>,
}

/// A process of the file.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) requirement: Vec<u64>,
    pub(crate) move_cost: u32,
}

/// A balance objective of the file.
#[derive(Debug)]
pub(crate) struct Balance {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) target: u64,
    pub(crate) weight: u32,
}

/// An instance with its original assignment.
#[derive(Debug, Default)]
pub(crate) struct Instance {
    /// Per resource: transient, weight of the load cost.
    pub(crate) resources: Vec<(bool, u32)>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) services: Vec<Service>,
    pub(crate) processes: Vec<Process>,
    pub(crate) balances: Vec<Balance>,
    /// Of process, service and machine moves.
    pub(crate) move_weights: [u32; 3],
    pub(crate) original: Vec<usize>,
}

/// The cost by component, weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Costs {
    pub(crate) load: u128,
    pub(crate) balance: u128,
    pub(crate) process_moves: u128,
    pub(crate) service_moves: u128,
    pub(crate) machine_moves: u128,
}

impl Costs {
    pub(crate) fn total(&self) -> u128 {
        self.load + self.balance + self.process_moves + self.service_moves + self.machine_moves
    }
}

struct Reader<'a>(std::slice::Iter<'a, u64>);

impl Reader<'_> {
    fn long(&mut self) -> Result<u64, String> {
        self.0.next().copied().ok_or_else(|| "the file ends early".to_owned())
    }

    fn int(&mut self) -> Result<u32, String> {
        let value = self.long()?;
        u32::try_from(value).map_err(|_| format!("{value} has more than 32 bits"))
    }

    fn index(&mut self, below: usize) -> Result<usize, String> {
        let value = self.long()? as usize;
        if value < below { Ok(value) } else { Err(format!("index {value} where there are {below}")) }
    }

    fn longs(&mut self, count: usize) -> Result<Vec<u64>, String> {
        (0..count).map(|_| self.long()).collect()
    }
}

impl Instance {
    /// From the numbers of the two files.
    pub(crate) fn parse(model: &[u64], assignment: &[u64]) -> Result<Instance, String> {
        let mut from = Reader(model.iter());
        let mut read = Instance::default();
        for _ in 0..from.long()? {
            read.resources.push((from.long()? != 0, from.int()?));
        }
        let (resources, machines) = (read.resources.len(), from.long()? as usize);
        for _ in 0..machines {
            read.machines.push(Machine {
                neighborhood: from.long()? as usize,
                location: from.long()? as usize,
                capacity: from.longs(resources)?,
                safety: from.longs(resources)?,
                move_cost_to: (0..machines).map(|_| from.int()).collect::<Result<_, _>>()?,
            });
        }
        let services = from.long()? as usize;
        for _ in 0..services {
            let spread_min = from.int()?;
            let depends_on = (0..from.long()?).map(|_| from.index(services)).collect::<Result<_, _>>()?;
            read.services.push(Service { spread_min, depends_on, processes: Vec::new() });
        }
        for process in 0..from.long()? as usize {
            let service = from.index(services)?;
            let (requirement, move_cost) = (from.longs(resources)?, from.int()?);
            read.processes.push(Process { requirement, move_cost });
            read.services[service].processes.push(process);
        }
        for _ in 0..from.long()? {
            let (first, second) = (from.index(resources)?, from.index(resources)?);
            read.balances.push(Balance { first, second, target: from.long()?, weight: from.int()? });
        }
        read.move_weights = [from.int()?, from.int()?, from.int()?];
        let mut from = Reader(assignment.iter());
        read.original = (0..read.processes.len()).map(|_| from.index(machines)).collect::<Result<_, _>>()?;
        Ok(read)
    }

    /// U(m, r).
    fn used(&self, at: &[usize]) -> Vec<Vec<u64>> {
        let mut used = vec![vec![0; self.resources.len()]; self.machines.len()];
        for (process, machine) in self.processes.iter().zip(at) {
            used[*machine].iter_mut().zip(&process.requirement).for_each(|(used, required)| *used += required);
        }
        used
    }

    /// The cost of an assignment.
    pub(crate) fn costs(&self, at: &[usize]) -> Costs {
        let used = self.used(at);
        let (mut load, mut balance) = (0u128, 0u128);
        for (machine, used) in self.machines.iter().zip(&used) {
            for (r, (_, weight)) in self.resources.iter().enumerate() {
                load += u128::from(*weight) * u128::from(used[r].saturating_sub(machine.safety[r]));
            }
            let available = |r: usize| i128::from(machine.capacity[r]) - i128::from(used[r]);
            for objective in &self.balances {
                let lacks = i128::from(objective.target) * available(objective.first) - available(objective.second);
                balance += u128::from(objective.weight) * lacks.max(0).unsigned_abs();
            }
        }
        let [per_process, per_service, per_machine] = self.move_weights.map(u128::from);
        let is_moved = |p: &usize| at[*p] != self.original[*p];
        let moved: Vec<usize> = (0..at.len()).filter(is_moved).collect();
        let in_service = |s: &Service| s.processes.iter().filter(|p| is_moved(p)).count();
        let most = self.services.iter().map(in_service).max().unwrap_or(0) as u128;
        let far = |p: &usize| u128::from(self.machines[self.original[*p]].move_cost_to[at[*p]]);
        Costs {
            load,
            balance,
            process_moves: per_process * moved.iter().map(|p| u128::from(self.processes[*p].move_cost)).sum::<u128>(),
            service_moves: per_service * most,
            machine_moves: per_machine * moved.iter().map(far).sum::<u128>(),
        }
    }

    /// The first hard constraint that an assignment breaks.
    pub(crate) fn broken(&self, at: &[usize]) -> Option<String> {
        let mut charged = self.used(at);
        for (p, process) in self.processes.iter().enumerate().filter(|(p, _)| at[*p] != self.original[*p]) {
            for (r, _) in self.resources.iter().enumerate().filter(|(_, (transient, _))| *transient) {
                charged[self.original[p]][r] += process.requirement[r];
            }
        }
        for (m, machine) in self.machines.iter().enumerate() {
            if let Some(r) = (0..self.resources.len()).find(|r| charged[m][*r] > machine.capacity[*r]) {
                return Some(format!("the capacity of machine {m} for resource {r}"));
            }
        }
        let distinct = |service: &Service, of: &dyn Fn(&Machine) -> usize| {
            let mut domains: Vec<usize> = service.processes.iter().map(|p| of(&self.machines[at[*p]])).collect();
            domains.sort_unstable();
            domains.dedup();
            domains
        };
        let neighborhoods: Vec<Vec<usize>> = self.services.iter().map(|s| distinct(s, &|m| m.neighborhood)).collect();
        for (s, service) in self.services.iter().enumerate() {
            let mut machines: Vec<usize> = service.processes.iter().map(|p| at[*p]).collect();
            machines.sort_unstable();
            if machines.windows(2).any(|pair| pair[0] == pair[1]) {
                return Some(format!("the conflict of service {s}"));
            }
            if distinct(service, &|m| m.location).len() < service.spread_min as usize {
                return Some(format!("the spread of service {s}"));
            }
            let lacks = |on: &&usize| neighborhoods[s].iter().any(|n| !neighborhoods[**on].contains(n));
            if let Some(on) = service.depends_on.iter().find(lacks) {
                return Some(format!("the dependency of service {s} on {on}"));
            }
        }
        None
    }

    /// A lower bound on the cost of any assignment: each term over all machines at once, valid because max(0, ·) is convex.
    pub(crate) fn bound(&self) -> u128 {
        let over_machines =
            |of: &dyn Fn(&Machine) -> u64| self.machines.iter().map(|m| i128::from(of(m))).sum::<i128>();
        let required = |r: usize| self.processes.iter().map(|p| i128::from(p.requirement[r])).sum::<i128>();
        let available = |r: usize| over_machines(&|m| m.capacity[r]) - required(r);
        let load = self
            .resources
            .iter()
            .enumerate()
            .map(|(r, (_, weight))| i128::from(*weight) * (required(r) - over_machines(&|m| m.safety[r])).max(0));
        let balance = self
            .balances
            .iter()
            .map(|b| i128::from(b.weight) * (i128::from(b.target) * available(b.first) - available(b.second)).max(0));
        (load.sum::<i128>() + balance.sum::<i128>()).unsigned_abs()
    }
}
