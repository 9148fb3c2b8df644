//! The state of the search: where every replica lies, where it would go for each loss, and by how much that overloads nodes.

use crate::board::Board;
use crate::chance::Chance;
use crate::instance::Instance;
use crate::{Constraint, Rule, Standing};

/// No node.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Draws for a refuge before all nodes are looked at.
const DRAWS: usize = 8;

/// The losses of one reserve.
struct Loss {
    topology: usize,
    /// Per workload: goes with what is lost.
    except: Vec<bool>,
    /// The number of its first domain's loss among all losses.
    first: u32,
}

/// A replica: which workload's, and on which node.
#[derive(Clone, Copy)]
pub(super) struct Replica {
    pub(super) workload: usize,
    pub(super) node: u32,
}

/// What comes to a node in each of the losses that send anything.
#[derive(Default)]
struct Arrivals {
    losses: Vec<u32>,
    guests: Vec<u32>,
    /// Resources of the first loss, of the second, ….
    loads: Vec<i64>,
}

/// A guest is a replica in the loss of one reserve: replica × reserves + reserve.
type Guest = usize;

pub(super) struct Rooms<'i, 'p> {
    pub(super) board: Board<'i, 'p>,
    losses: Vec<Loss>,
    pub(super) replicas: Vec<Replica>,
    /// Per guest, its node, and in which loss.
    refuge: Vec<u32>,
    loss: Vec<u32>,
    /// Per node its replicas and guests, and where each stands in its list.
    here: Vec<Vec<u32>>,
    at_here: Vec<u32>,
    guests: Vec<Vec<u32>>,
    at_guests: Vec<u32>,
    arrivals: Vec<Arrivals>,
    /// Nodes that nothing leaves and nothing comes to: something is broken there, or (as a refuge only) they are on offer.
    pub(super) still: Vec<bool>,
    no_refuge: Vec<bool>,
    /// Per resource: the price of a unit that is too much.
    prices: Vec<f64>,
    /// Guests count this many times.
    pub(super) factor: f64,
    over: Vec<f64>,
    overloaded: Vec<u32>,
    at_overloaded: Vec<u32>,
    /// Nodes that the present move changes, with their overload before.
    touched: Vec<(usize, f64)>,
}

impl<'i, 'p> Rooms<'i, 'p> {
    /// Takes over what a board holds; refuges are drawn.
    pub(super) fn new(board: Board<'i, 'p>, prices: Vec<f64>, factor: f64, chance: &mut Chance) -> Rooms<'i, 'p> {
        let problem = board.instance.problem;
        let nodes = problem.nodes.len();
        let losses = losses(board.instance);
        let mut rooms = Rooms {
            losses,
            replicas: Vec::new(),
            refuge: Vec::new(),
            loss: Vec::new(),
            here: vec![Vec::new(); nodes],
            at_here: Vec::new(),
            guests: vec![Vec::new(); nodes],
            at_guests: Vec::new(),
            arrivals: (0..nodes).map(|_| Arrivals::default()).collect(),
            still: board.instance.broken_nodes.clone(),
            no_refuge: problem.nodes.iter().map(|node| node.standing == Standing::OnOffer).collect(),
            prices,
            factor,
            over: vec![0.0; nodes],
            overloaded: Vec::new(),
            at_overloaded: vec![NOWHERE; nodes],
            touched: Vec::new(),
            board,
        };
        for node in 0..nodes {
            let mut held = rooms.board.on(node).to_vec();
            held.sort_unstable();
            for (workload, count) in held {
                (0..count).for_each(|_| rooms.enlist(workload as usize, node));
            }
        }
        (0..rooms.replicas.len()).for_each(|replica| rooms.draw_refuges(replica, chance));
        rooms.reweigh();
        rooms
    }

    fn instance(&self) -> &'i Instance<'p> {
        self.board.instance
    }

    /// A replica that the board holds already.
    fn enlist(&mut self, workload: usize, node: usize) {
        let replica = self.replicas.len() as u32;
        self.replicas.push(Replica { workload, node: node as u32 });
        self.at_here.push(self.here[node].len() as u32);
        self.here[node].push(replica);
        for _ in 0..self.losses.len() {
            self.refuge.push(NOWHERE);
            self.loss.push(NOWHERE);
            self.at_guests.push(NOWHERE);
        }
    }

    /// One more replica, with refuges.
    pub(super) fn add(&mut self, workload: usize, node: usize, chance: &mut Chance) {
        self.board.change(workload, node, 1);
        self.enlist(workload, node);
        self.touch(node);
        self.draw_refuges(self.replicas.len() - 1, chance);
    }

    /// The last replica that was added was never there.
    pub(super) fn dismiss(&mut self) {
        self.lift(self.replicas.len() - 1);
        self.forget();
        self.replicas.pop();
        self.at_here.pop();
        let guests = self.replicas.len() * self.losses.len();
        self.refuge.truncate(guests);
        self.loss.truncate(guests);
        self.at_guests.truncate(guests);
    }

    fn guest(&self, replica: usize, reserve: usize) -> Guest {
        replica * self.losses.len() + reserve
    }

    /// What of the cluster is lost with a node, as far as one reserve goes.
    fn loss_of(&self, reserve: usize, workload: usize, node: usize) -> Option<u32> {
        let loss = &self.losses[reserve];
        let domain = self.instance().problem.nodes[node].domains[loss.topology]?;
        (!loss.except[workload]).then(|| loss.first + domain as u32)
    }

    /// Whether a node may be the refuge of a workload's replica that lies on another.
    fn may_shelter(&self, workload: usize, reserve: usize, from: usize, node: usize) -> bool {
        let topology = self.losses[reserve].topology;
        let nodes = &self.instance().problem.nodes;
        !self.still[node]
            && !self.no_refuge[node]
            && nodes[node].domains[topology] != nodes[from].domains[topology]
            && self.instance().is_allowed(workload, node)
            && self.loss_of(reserve, workload, from).is_none_or(|loss| !self.is_crowded(workload, node, Some(loss), 1))
    }

    /// Whether `more` of a workload on a node are too many beside what comes there in a loss (or in any).
    fn is_crowded(&self, workload: usize, node: usize, loss: Option<u32>, more: u32) -> bool {
        let problem = self.instance().problem;
        let Some(most) = problem.workloads[workload].per_node_max else { return false };
        let own = self.guests[node].iter().map(|guest| *guest as usize);
        let own = own.filter(|guest| self.replicas[guest / self.losses.len()].workload == workload);
        let mut losses: Vec<u32> =
            own.map(|guest| self.loss[guest]).filter(|l| loss.is_none_or(|loss| *l == loss)).collect();
        losses.sort_unstable();
        let come = losses.chunk_by(|one, other| one == other).map(<[u32]>::len).max().unwrap_or(0) as u32;
        self.board.count(workload, node) + come + more > most
    }

    /// A refuge for each loss, the first of a few draws that is not overloaded by it.
    fn draw_refuges(&mut self, replica: usize, chance: &mut Chance) {
        for reserve in 0..self.losses.len() {
            let Replica { workload, node } = self.replicas[replica];
            if self.loss_of(reserve, workload, node as usize).is_none() {
                continue;
            }
            if let Some(refuge) = self.drawn(workload, reserve, node as usize, chance) {
                self.shelter(self.guest(replica, reserve), refuge);
            }
        }
    }

    /// Other refuges for a replica.
    pub(super) fn redraw(&mut self, replica: usize, chance: &mut Chance) {
        (0..self.losses.len()).for_each(|reserve| self.leave(self.guest(replica, reserve)));
        self.draw_refuges(replica, chance);
    }

    fn drawn(&self, workload: usize, reserve: usize, from: usize, chance: &mut Chance) -> Option<usize> {
        let allowed = &self.instance().allowed[workload];
        let draw = |chance: &mut Chance| allowed.get(chance.below(allowed.len())).copied();
        let mut found = None;
        for _ in 0..DRAWS {
            let Some(node) = draw(chance).filter(|node| self.may_shelter(workload, reserve, from, *node)) else {
                continue;
            };
            found = Some(node);
            let free = self.board.free(node);
            if self.board.demand(workload).iter().zip(free).all(|(demand, free)| demand <= free) {
                break;
            }
        }
        let start = chance.below(allowed.len().max(1));
        let mut all = allowed.iter().cycle().skip(start).take(allowed.len());
        found.or_else(|| all.find(|node| self.may_shelter(workload, reserve, from, **node)).copied())
    }

    /// A guest comes to a node.
    pub(super) fn shelter(&mut self, guest: Guest, node: usize) {
        let (reserve, Replica { workload, node: from }) =
            (guest % self.losses.len(), self.replicas[guest / self.losses.len()]);
        let Some(loss) = self.loss_of(reserve, workload, from as usize) else { return };
        self.touch(node);
        (self.refuge[guest], self.loss[guest]) = (node as u32, loss);
        self.at_guests[guest] = self.guests[node].len() as u32;
        self.guests[node].push(guest as u32);
        let (demand, arrivals) = (self.board.demand(workload), &mut self.arrivals[node]);
        let at = arrivals.losses.iter().position(|known| *known == loss).unwrap_or(arrivals.losses.len());
        if at == arrivals.losses.len() {
            arrivals.losses.push(loss);
            arrivals.guests.push(0);
            arrivals.loads.resize(arrivals.loads.len() + demand.len(), 0);
        }
        arrivals.guests[at] += 1;
        let loads = arrivals.loads[at * demand.len()..].iter_mut();
        loads.zip(demand).for_each(|(load, demand)| *load += demand);
    }

    /// A guest goes from its node.
    pub(super) fn leave(&mut self, guest: Guest) {
        let node = self.refuge[guest];
        if node == NOWHERE {
            return;
        }
        let node = node as usize;
        self.touch(node);
        let place = self.at_guests[guest] as usize;
        self.guests[node].swap_remove(place);
        if let Some(moved) = self.guests[node].get(place) {
            self.at_guests[*moved as usize] = place as u32;
        }
        self.refuge[guest] = NOWHERE;
        let demand = self.board.demand(self.replicas[guest / self.losses.len()].workload);
        let (arrivals, width) = (&mut self.arrivals[node], demand.len());
        let Some(at) = arrivals.losses.iter().position(|known| *known == self.loss[guest]) else { return };
        arrivals.guests[at] -= 1;
        let loads = arrivals.loads[at * width..].iter_mut();
        loads.zip(demand).for_each(|(load, demand)| *load -= demand);
        if arrivals.guests[at] == 0 {
            let last = arrivals.losses.len() - 1;
            arrivals.losses.swap_remove(at);
            arrivals.guests.swap_remove(at);
            arrivals.loads.copy_within(last * width.., at * width);
            arrivals.loads.truncate(last * width);
        }
    }

    /// The refuges of a replica, one for each reserve.
    pub(super) fn refuges(&self, replica: usize) -> Vec<u32> {
        self.refuge[replica * self.losses.len()..][..self.losses.len()].to_vec()
    }

    /// A replica goes, refuges and all.
    pub(super) fn lift(&mut self, replica: usize) {
        (0..self.losses.len()).for_each(|reserve| self.leave(self.guest(replica, reserve)));
        let Replica { workload, node } = self.replicas[replica];
        let node = node as usize;
        self.touch(node);
        self.board.change(workload, node, -1);
        let place = self.at_here[replica] as usize;
        self.here[node].swap_remove(place);
        if let Some(moved) = self.here[node].get(place) {
            self.at_here[*moved as usize] = place as u32;
        }
        self.replicas[replica].node = NOWHERE;
    }

    /// A replica that was lifted comes to a node, with these refuges.
    pub(super) fn settle(&mut self, replica: usize, node: usize, refuges: &[u32]) {
        self.touch(node);
        self.board.change(self.replicas[replica].workload, node, 1);
        self.replicas[replica].node = node as u32;
        self.at_here[replica] = self.here[node].len() as u32;
        self.here[node].push(replica as u32);
        for (reserve, refuge) in refuges.iter().enumerate().filter(|(_, refuge)| **refuge != NOWHERE) {
            self.shelter(self.guest(replica, reserve), *refuge as usize);
        }
    }

    /// Moves a replica to a node that may hold it. Its refuge stays, unless it would be lost together with the node: then what was its node
    /// is its refuge.
    pub(super) fn relocate(&mut self, replica: usize, to: usize, chance: &mut Chance) {
        let Replica { workload, node: from } = self.replicas[replica];
        let mut refuges = self.refuges(replica);
        self.lift(replica);
        for (reserve, refuge) in refuges.iter_mut().enumerate() {
            let good = |node: u32| node != NOWHERE && self.may_shelter(workload, reserve, to, node as usize);
            *refuge = if self.loss_of(reserve, workload, to).is_none() {
                NOWHERE
            } else if good(*refuge) {
                *refuge
            } else if good(from) {
                from
            } else {
                self.drawn(workload, reserve, to, chance).map_or(NOWHERE, |node| node as u32)
            };
        }
        self.settle(replica, to, &refuges);
    }

    /// Back to where a replica was.
    pub(super) fn back(&mut self, replica: usize, node: u32, refuges: &[u32]) {
        if self.replicas[replica].node != NOWHERE {
            self.lift(replica);
        }
        if node != NOWHERE {
            self.settle(replica, node as usize, refuges);
        }
    }

    /// Whether a replica of a workload may lie on a node as far as that node alone goes, overload aside.
    pub(super) fn may_go(&self, workload: usize, node: usize) -> bool {
        !self.still[node] && self.board.may_go(workload, node) && !self.is_crowded(workload, node, None, 1)
    }

    /// Whether a node may be another refuge for a guest.
    pub(super) fn may_host(&self, guest: Guest, node: usize) -> bool {
        let Replica { workload, node: from } = self.replicas[guest / self.losses.len()];
        self.may_shelter(workload, guest % self.losses.len(), from as usize, node)
    }

    /// The guest's workload, node and loss.
    pub(super) fn about(&self, guest: Guest) -> (usize, usize, u32) {
        (self.replicas[guest / self.losses.len()].workload, self.refuge[guest] as usize, self.loss[guest])
    }

    pub(super) fn replica_of(&self, guest: Guest) -> usize {
        guest / self.losses.len()
    }

    pub(super) fn here(&self, node: usize) -> &[u32] {
        &self.here[node]
    }

    pub(super) fn guests(&self, node: usize) -> &[u32] {
        &self.guests[node]
    }

    /// Nodes with an overload, in no order.
    pub(super) fn overloaded(&self) -> &[u32] {
        &self.overloaded
    }

    /// What is too much on a node, in the worth of its resources: of what lies there, and in each loss.
    fn overload(&self, node: usize) -> f64 {
        if self.still[node] {
            return 0.0;
        }
        let (free, arrivals) = (self.board.free(node), &self.arrivals[node]);
        let own = free.iter().zip(&self.prices).map(|(free, price)| (-*free).max(0) as f64 * price);
        let mut sum: f64 = own.sum();
        for loads in arrivals.loads.chunks_exact(free.len().max(1)) {
            for ((load, free), price) in loads.iter().zip(free).zip(&self.prices) {
                let lack = (*load as f64 * self.factor).ceil() - *free as f64;
                if *load > 0 && lack > 0.0 {
                    sum += lack * price;
                }
            }
        }
        sum
    }

    fn touch(&mut self, node: usize) {
        if self.touched.iter().all(|(touched, _)| *touched != node) {
            self.touched.push((node, self.over[node]));
        }
    }

    /// By how much the overload has grown since the last [`Rooms::keep`] or [`Rooms::forget`].
    pub(super) fn growth(&self) -> f64 {
        self.touched.iter().map(|(node, before)| self.overload(*node) - before).sum()
    }

    /// What was changed stays.
    pub(super) fn keep(&mut self) {
        while let Some((node, _)) = self.touched.pop() {
            self.weigh(node);
        }
        self.board.settle();
    }

    /// What was changed has been changed back.
    pub(super) fn forget(&mut self) {
        self.touched.clear();
        self.board.settle();
    }

    /// Looks at all nodes again, after prices or factor have changed.
    pub(super) fn reweigh(&mut self) {
        self.forget();
        (0..self.over.len()).for_each(|node| self.weigh(node));
    }

    fn weigh(&mut self, node: usize) {
        self.over[node] = self.overload(node);
        let at = self.at_overloaded[node];
        if self.over[node] > 0.0 && at == NOWHERE {
            self.at_overloaded[node] = self.overloaded.len() as u32;
            self.overloaded.push(node as u32);
        } else if self.over[node] <= 0.0 && at != NOWHERE {
            self.at_overloaded[node] = NOWHERE;
            self.overloaded.swap_remove(at as usize);
            if let Some(moved) = self.overloaded.get(at as usize) {
                self.at_overloaded[*moved as usize] = at;
            }
        }
    }
}

/// The losses of every reserve.
fn losses(instance: &Instance) -> Vec<Loss> {
    let problem = instance.problem;
    let mut first = 0;
    let of = |Constraint { rule, .. }: &Constraint| {
        let Rule::Reserve { topology, except } = rule else { return None };
        let mut out = vec![false; problem.workloads.len()];
        except.iter().for_each(|workload| out[*workload] = true);
        let loss = Loss { topology: *topology, except: out, first };
        first += problem.topologies[*topology].domains.len() as u32;
        Some(loss)
    };
    problem.constraints.iter().filter_map(of).collect()
}
