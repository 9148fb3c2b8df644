//! Where every instance lies, and what that makes of each machine: the one structure that the searches change.

use super::kernels::{cost_unit, excess_cost, exchange, fits, least_change, padded, slopes};
use super::partners::{Held, Partners};
use super::{App, Fleet, FleetError};

/// No machine.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A placement with all its sums.
pub(super) struct State<'a> {
    pub(super) fleet: &'a Fleet,
    partners: Partners,
    /// Length of a curve with its padding.
    width: usize,
    /// Per app and slot, with a last app that takes nothing ([`State::nothing`]).
    app_cpu: Vec<i32>,
    app_memory: Vec<i32>,
    app_memory_peak: Vec<i32>,
    app_memory_least: Vec<i32>,
    flats: usize,
    app_flat: Vec<i64>,
    /// Per machine and slot.
    cpu: Vec<i32>,
    memory: Vec<i32>,
    slope: Vec<f32>,
    memory_peak: Vec<i32>,
    flat: Vec<i64>,
    per_unit: Vec<f32>,
    cost_unit: f32,
    excess: Vec<f32>,
    held: Vec<Vec<Held>>,
    /// The instances on each machine, in no order.
    on: Vec<Vec<u32>>,
    /// Of each instance: its machine and its position there.
    at: Vec<u32>,
    position: Vec<u32>,
}

/// The curve of a machine or an app within the flat vectors.
#[inline(always)]
fn row<T>(all: &[T], index: usize, width: usize) -> &[T] {
    &all[index * width..(index + 1) * width]
}

impl<'a> State<'a> {
    /// An empty placement.
    ///
    /// # Errors
    /// When the fleet is not [valid](Fleet::validate).
    pub(super) fn new(fleet: &'a Fleet) -> Result<State<'a>, FleetError> {
        fleet.validate()?;
        let (width, machines) = (padded(fleet.slots), fleet.machines.len());
        let flats = fleet.machines.first().map_or(0, |machine| machine.flat.len());
        let curve = |curve: &[u32]| -> Vec<i32> {
            let padding = std::iter::repeat_n(0, width - curve.len());
            curve.iter().map(|amount| *amount as i32).chain(padding).collect()
        };
        let nothing = vec![0; width];
        let mut app_cpu: Vec<i32> = fleet.apps.iter().flat_map(|app| curve(&app.cpu)).collect();
        let mut app_memory: Vec<i32> = fleet.apps.iter().flat_map(|app| curve(&app.memory)).collect();
        app_cpu.extend(&nothing);
        app_memory.extend(&nothing);
        let mut app_flat: Vec<i64> =
            fleet.apps.iter().flat_map(|app| app.flat.iter().map(|amount| *amount as i64)).collect();
        app_flat.extend(std::iter::repeat_n(0, flats));
        let peak = |app: usize| row(&app_memory, app, width).iter().copied().max().unwrap_or(0);
        let least = |app: &App| app.memory.iter().min().map_or(0, |amount| *amount as i32);
        Ok(State {
            fleet,
            partners: Partners::new(fleet),
            width,
            app_memory_peak: (0..=fleet.apps.len()).map(peak).collect(),
            app_memory_least: fleet.apps.iter().map(least).chain([0]).collect(),
            app_cpu,
            app_memory,
            flats,
            app_flat,
            cpu: vec![0; machines * width],
            memory: vec![0; machines * width],
            slope: vec![0.0; machines * width],
            memory_peak: vec![0; machines],
            flat: vec![0; machines * flats],
            per_unit: fleet.machines.iter().map(|machine| 1.0 / machine.cpu as f32).collect(),
            cost_unit: cost_unit(fleet.slots),
            excess: vec![0.0; machines],
            held: vec![Vec::new(); machines],
            on: vec![Vec::new(); machines],
            at: vec![NOWHERE; fleet.instances.len()],
            position: vec![0; fleet.instances.len()],
        })
    }

    /// The app that takes nothing: exchanging something for it is a shift.
    pub(super) fn nothing(&self) -> usize {
        self.fleet.apps.len()
    }

    pub(super) fn app(&self, instance: usize) -> usize {
        self.fleet.instances[instance]
    }

    pub(super) fn machine(&self, instance: usize) -> Option<usize> {
        (self.at[instance] != NOWHERE).then_some(self.at[instance] as usize)
    }

    pub(super) fn on(&self, machine: usize) -> &[u32] {
        &self.on[machine]
    }

    /// The machine of each instance.
    pub(super) fn placement(&self) -> Vec<Option<usize>> {
        (0..self.at.len()).map(|instance| self.machine(instance)).collect()
    }

    /// The cost as the search sees it: in 32-bit floats for each machine.
    pub(super) fn cost(&self) -> f64 {
        (0..self.on.len()).map(|machine| self.machine_cost(machine)).sum()
    }

    pub(super) fn machine_cost(&self, machine: usize) -> f64 {
        if self.on[machine].is_empty() { 0.0 } else { 1.0 + f64::from(self.excess[machine]) }
    }

    /// What the exchange of one of `less` for one of `more` on `machine` adds to its cost, the 1 of being on aside.
    #[inline]
    pub(super) fn change(&self, machine: usize, less: usize, more: usize) -> f32 {
        let width = self.width;
        let (less, more) = (row(&self.app_cpu, less, width), row(&self.app_cpu, more, width));
        let after = excess_cost(row(&self.cpu, machine, width), less, more, self.per_unit[machine]);
        after * self.cost_unit - self.excess[machine]
    }

    /// A lower bound on [`State::change`] by its derivative.
    #[inline]
    pub(super) fn change_least(&self, machine: usize, less: usize, more: usize) -> f32 {
        let width = self.width;
        let (less, more) = (row(&self.app_cpu, less, width), row(&self.app_cpu, more, width));
        least_change(row(&self.slope, machine, width), less, more)
    }

    /// Whether all but CPU allows the exchange of one of `less` for one of `more`.
    #[inline]
    pub(super) fn allows(&self, machine: usize, less: usize, more: usize) -> bool {
        let spec = &self.fleet.machines[machine];
        for flat in 0..self.flats {
            let used = self.flat[machine * self.flats + flat] + self.app_flat[more * self.flats + flat]
                - self.app_flat[less * self.flats + flat];
            if used > spec.flat[flat] as i64 {
                return false;
            }
        }
        if more < self.nothing() && !self.partners.allow(&self.held[machine], more, less) {
            return false;
        }
        let capacity = spec.memory as i32;
        self.memory_peak[machine] - self.app_memory_least[less] + self.app_memory_peak[more] <= capacity || {
            let width = self.width;
            let (less, more) = (row(&self.app_memory, less, width), row(&self.app_memory, more, width));
            fits(row(&self.memory, machine, width), less, more, capacity)
        }
    }

    /// Whether CPU allows the exchange, exactly.
    pub(super) fn allows_cpu(&self, machine: usize, less: usize, more: usize) -> bool {
        let width = self.width;
        let (less, more) = (row(&self.app_cpu, less, width), row(&self.app_cpu, more, width));
        fits(row(&self.cpu, machine, width), less, more, self.fleet.machines[machine].cpu as i32)
    }

    /// The larger of the shares of memory and CPU in use at their peaks.
    pub(super) fn fullness(&self, machine: usize) -> f32 {
        let cpu = row(&self.cpu, machine, self.width).iter().copied().max().unwrap_or(0);
        let memory = self.memory_peak[machine] as f32 / self.fleet.machines[machine].memory.max(1) as f32;
        memory.max(cpu as f32 * self.per_unit[machine])
    }

    /// The mean over `machines` of what a unit of CPU costs in each slot.
    pub(super) fn mean_slopes(&self, machines: impl Iterator<Item = usize>) -> Vec<f64> {
        let (mut sums, mut count) = (vec![0.0; self.width], 0.0);
        for machine in machines {
            let slopes = row(&self.slope, machine, self.width);
            sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += f64::from(*slope));
            count += 1.0;
        }
        sums.into_iter().map(|sum| if count > 0.0 { sum / count } else { 0.0 }).collect()
    }

    /// What the CPU in use on a machine would cost at `worth` for each slot and unit.
    pub(super) fn value(&self, machine: usize, worth: &[f64]) -> f64 {
        row(&self.cpu, machine, self.width).iter().zip(worth).map(|(used, worth)| f64::from(*used) * worth).sum()
    }

    /// Takes an instance from where it is, if anywhere, to a machine.
    pub(super) fn relocate(&mut self, instance: usize, to: usize) {
        let (app, nothing) = (self.app(instance), self.nothing());
        if let Some(from) = self.machine(instance) {
            self.detach(instance, from);
            self.exchange(from, app, nothing);
        }
        self.attach(instance, to);
        self.exchange(to, nothing, app);
    }

    /// Two placed instances change places.
    pub(super) fn swap(&mut self, first: usize, second: usize) {
        if let (Some(one), Some(two)) = (self.machine(first), self.machine(second)) {
            self.detach(first, one);
            self.detach(second, two);
            self.attach(first, two);
            self.attach(second, one);
            let (less, more) = (self.app(first), self.app(second));
            self.exchange(one, less, more);
            self.exchange(two, more, less);
        }
    }

    fn detach(&mut self, instance: usize, machine: usize) {
        let position = self.position[instance] as usize;
        self.on[machine].swap_remove(position);
        if let Some(moved) = self.on[machine].get(position) {
            self.position[*moved as usize] = position as u32;
        }
    }

    fn attach(&mut self, instance: usize, machine: usize) {
        self.at[instance] = machine as u32;
        self.position[instance] = self.on[machine].len() as u32;
        self.on[machine].push(instance as u32);
    }

    /// The sums of a machine on which one of `less` makes room for one of `more`.
    fn exchange(&mut self, machine: usize, less: usize, more: usize) {
        let (width, flats, nothing) = (self.width, self.flats, self.nothing());
        let held = &mut self.held[machine];
        if less < nothing
            && let Some(at) = held.iter().position(|held| held.app as usize == less)
        {
            held[at].count -= 1;
            if held[at].count == 0 {
                held.swap_remove(at);
            }
        }
        if more < nothing {
            match held.iter_mut().find(|held| held.app as usize == more) {
                Some(held) => held.count += 1,
                None => held.push(Held { app: more as u32, count: 1 }),
            }
        }
        for flat in 0..flats {
            self.flat[machine * flats + flat] +=
                self.app_flat[more * flats + flat] - self.app_flat[less * flats + flat];
        }
        let range = machine * width..(machine + 1) * width;
        let memory = &mut self.memory[range.clone()];
        exchange(memory, row(&self.app_memory, less, width), row(&self.app_memory, more, width));
        self.memory_peak[machine] = memory.iter().copied().max().unwrap_or(0);
        let cpu = &mut self.cpu[range.clone()];
        exchange(cpu, row(&self.app_cpu, less, width), row(&self.app_cpu, more, width));
        let zero = row(&self.app_cpu, nothing, width);
        self.excess[machine] = excess_cost(cpu, zero, zero, self.per_unit[machine]) * self.cost_unit;
        slopes(cpu, self.per_unit[machine], self.cost_unit, &mut self.slope[range]);
    }
}
