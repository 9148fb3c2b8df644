//! The one file that knows the back-end: programs are stated here, handed to `good_lp`, and solved by HiGHS.
//!
//! `good_lp`'s own solution type drops the dual bound, so the built model is taken out of it (`try_into_inner`) and asked directly.
//! Nothing returned is to be believed: values come back as floats, are rounded by the caller, and checked against the problem.
//! Bounds are returned only when HiGHS states that it proved them.

use crate::deadline::Deadline;
use good_lp::solvers::highs::highs as through_highs;
use good_lp::{Constraint, Expression, IntoAffineExpression, ProblemVariables, SolverModel, Variable, variable};
use highs::{HighsModelStatus, HighsSolutionStatus, SolvedModel};
use std::sync::mpsc;
use std::time::Duration;

/// No number of a program may be larger.
const NUMBER_MAX: f64 = 1e11;

/// Position of a variable in its [`Program`].
pub(crate) type Col = usize;

/// `Σ coefficient · column + constant`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Linear {
    pub(crate) terms: Vec<(Col, f64)>,
    pub(crate) constant: f64,
}

impl Linear {
    pub(crate) fn constant(constant: f64) -> Linear {
        Linear { terms: Vec::new(), constant }
    }

    pub(crate) fn add(&mut self, factor: f64, other: &Linear) {
        self.terms.extend(other.terms.iter().map(|(col, f)| (*col, f * factor)));
        self.constant += factor * other.constant;
    }

    pub(crate) fn with(mut self, factor: f64, col: Col) -> Linear {
        self.terms.push((col, factor));
        self
    }

    pub(crate) fn plus(mut self, factor: f64, other: &Linear) -> Linear {
        self.add(factor, other);
        self
    }

    pub(crate) fn value(&self, values: &[f64]) -> f64 {
        self.constant + self.terms.iter().map(|(col, factor)| factor * values[*col]).sum::<f64>()
    }
}

/// How an auxiliary column follows from the columns before it: its least feasible value. It makes a whole start out of the counts.
type Definition = Box<dyn Fn(&[f64]) -> f64>;

struct Column {
    lower: f64,
    upper: f64,
    integer: bool,
    definition: Option<Definition>,
}

/// A row `linear ≤ 0`.
type Row = Linear;

/// The condition that a row states, as far as explanations tell conditions apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tag {
    /// What follows from others, or is never in question.
    #[default]
    Other,
    /// No more of this workload than wanted.
    Wanted(usize),
    /// The capacity of a bin.
    Capacity { resource: usize, bin: usize },
    /// This constraint.
    Rule(usize),
}

/// A minimisation program without its objective, which is given with each call.
#[derive(Default)]
pub(crate) struct Program {
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// By row.
    tags: Vec<Tag>,
    /// Of the rows to come.
    pub(crate) tag: Tag,
}

/// Which columns have to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// All that are meant to be.
    All,
    /// None: the linear relaxation.
    None,
}

/// How a program is to be solved.
#[derive(Clone, Copy)]
pub(crate) struct SolveLimits {
    pub(crate) deadline: Deadline,
    pub(crate) whole: Whole,
    /// Stop when value − bound ≤ this (in units of the objective).
    pub(crate) gap: f64,
    /// Stop when (value − bound) / value ≤ this.
    pub(crate) relative_gap: f64,
}

/// What the back-end says.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// A value for each column, if it has any.
    pub(crate) values: Option<Vec<f64>>,
    /// A proven lower bound on the objective.
    pub(crate) bound: Option<f64>,
    /// It stopped at the deadline.
    pub(crate) timed_out: bool,
    /// Of a linear relaxation solved to the end: the rows that hold the objective up, with their dual values.
    pub(crate) duals: Vec<(Tag, f64)>,
}

/// No dual value below this says anything.
const DUAL_LEAST: f64 = 1e-7;

impl Program {
    /// A new column between `lower` and `upper`; the start takes its value from outside.
    pub(crate) fn column(&mut self, lower: f64, upper: f64, integer: bool) -> Col {
        self.columns.push(Column { lower, upper, integer, definition: None });
        self.columns.len() - 1
    }

    /// A new column that follows from those before it.
    pub(crate) fn defined(
        &mut self,
        (lower, upper): (f64, f64),
        integer: bool,
        definition: impl Fn(&[f64]) -> f64 + 'static,
    ) -> Col {
        self.columns.push(Column { lower, upper, integer, definition: Some(Box::new(definition)) });
        self.columns.len() - 1
    }

    /// `linear ≤ 0`. A row without columns that holds is left out.
    pub(crate) fn at_most_zero(&mut self, linear: Linear) {
        if !linear.terms.is_empty() || linear.constant > 0.0 {
            self.rows.push(linear);
            self.tags.push(self.tag);
        }
    }

    pub(crate) fn column_count(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn lower(&self, col: Col) -> f64 {
        self.columns[col].lower
    }

    /// The least value of `linear` that the columns' own bounds allow.
    pub(crate) fn least(&self, linear: &Linear) -> f64 {
        let least = |(col, factor): &(Col, f64)| {
            factor * if *factor > 0.0 { self.columns[*col].lower } else { self.columns[*col].upper }
        };
        linear.constant + linear.terms.iter().map(least).sum::<f64>()
    }

    /// The greatest value of `linear` that the columns' own bounds allow.
    pub(crate) fn greatest(&self, linear: &Linear) -> f64 {
        let mut negative = Linear::default();
        negative.add(-1.0, linear);
        -self.least(&negative)
    }

    /// Fills the columns that follow from the given ones.
    pub(crate) fn complete(&self, values: &mut [f64]) {
        for (col, column) in self.columns.iter().enumerate() {
            if let Some(definition) = &column.definition {
                values[col] = definition(values).clamp(column.lower, column.upper);
            }
        }
    }

    /// Whether every number is small enough for floats to tell whole numbers apart; if not, nothing the back-end says means anything.
    pub(crate) fn is_sound(&self) -> bool {
        let small = |number: f64| number.abs() <= NUMBER_MAX;
        let rows =
            self.rows.iter().all(|row| small(row.constant) && row.terms.iter().all(|(_, factor)| small(*factor)));
        rows && self.columns.iter().all(|column| small(column.lower) && small(column.upper))
    }

    /// The first row (or column) that `values` break, for tests of the definitions.
    pub(crate) fn broken_by(&self, values: &[f64], extra: &[Linear]) -> Option<String> {
        let column = self.columns.iter().zip(values).position(|(c, v)| *v < c.lower - 1e-6 || *v > c.upper + 1e-6);
        if let Some(col) = column {
            return Some(format!("column {col} is {}", values[col]));
        }
        let row = self.rows.iter().chain(extra).find(|row| row.value(values) > 1e-5);
        row.map(|row| format!("row {row:?} is {}", row.value(values)))
    }

    /// What to begin a search for whole values with: the better of `start` and the `relaxed` values rounded up, of those that satisfy the program and
    /// `extra` rows. The back-end finds little by itself where rounding up is good already.
    pub(crate) fn whole_start(
        &self,
        objective: &Linear,
        extra: &[Linear],
        start: Option<&[f64]>,
        relaxed: Option<&[f64]>,
    ) -> Option<Vec<f64>> {
        let up = |(column, value): (&Column, &f64)| if column.integer { (value - 1e-6).ceil() } else { *value };
        let rounded = relaxed.map(|values| self.columns.iter().zip(values).map(up).collect());
        let starts = rounded.into_iter().chain(start.map(<[f64]>::to_vec));
        let sound = starts.filter(|values| self.broken_by(values, extra).is_none());
        sound.min_by(|a: &Vec<f64>, b| objective.value(a).total_cmp(&objective.value(b)))
    }

    /// Minimises `objective` under the rows and `extra` rows, from `start` when there is one.
    pub(crate) fn minimise(
        &self,
        objective: &Linear,
        extra: &[Linear],
        start: Option<&[f64]>,
        limits: SolveLimits,
    ) -> Outcome {
        if limits.deadline.passed() {
            return Outcome { timed_out: true, ..Outcome::default() };
        }
        if !self.is_sound() {
            return Outcome::default();
        }
        let task = Task {
            columns: self.columns.iter().map(|c| (c.lower, c.upper, c.integer && limits.whole == Whole::All)).collect(),
            rows: self.rows.iter().chain(extra).cloned().collect(),
            tags: self.tags.clone(),
            objective: objective.clone(),
            start: start.map(<[f64]>::to_vec),
            limits,
        };
        task.run_until_late()
    }
}

/// Between two looks at the deadline while HiGHS works.
const LOOK: Duration = Duration::from_millis(10);
/// HiGHS is told to stop so much before the deadline (or a tenth of the time, when that is less): it has been seen to be late.
const MARGIN: Duration = Duration::from_millis(250);

/// A program in plain numbers, to be solved on a thread of its own: HiGHS may overrun its limit by hundreds of milliseconds, and is then
/// left behind.
struct Task {
    /// Lower, upper, whole.
    columns: Vec<(f64, f64, bool)>,
    rows: Vec<Row>,
    /// Of the rows, as far as they have any.
    tags: Vec<Tag>,
    objective: Linear,
    start: Option<Vec<f64>>,
    limits: SolveLimits,
}

impl Task {
    fn run_until_late(self) -> Outcome {
        let deadline = self.limits.deadline;
        let (answer, answers) = mpsc::channel();
        let solving = std::thread::Builder::new().name("highs".to_owned()).spawn(move || {
            // Nobody listens any more when it is late.
            let _late = answer.send(self.run());
        });
        let late = || Outcome { timed_out: true, ..Outcome::default() };
        if solving.is_err() {
            return late();
        }
        loop {
            match answers.recv_timeout(LOOK) {
                Ok(outcome) => return outcome,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Outcome::default(),
                Err(mpsc::RecvTimeoutError::Timeout) if deadline.passed() => return late(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// HiGHS has been seen to end with an error in its presolve: then once more without.
    fn run(&self) -> Outcome {
        self.attempt(true).or_else(|| self.attempt(false)).unwrap_or_default()
    }

    /// Nothing when HiGHS ends with an error.
    fn attempt(&self, presolve: bool) -> Option<Outcome> {
        let limits = self.limits;
        let remaining = limits.deadline.remaining();
        let limit = remaining.saturating_sub(MARGIN.min(remaining / 10));
        let mut variables = ProblemVariables::new();
        let made: Vec<Variable> = self.columns.iter().map(|column| variables.add(definition_of(*column))).collect();
        let mut program = variables.minimise(expression(&self.objective, &made)).using(through_highs);
        for row in &self.rows {
            let constraint: Constraint = expression(row, &made).leq(0.0);
            program.add_constraint(constraint);
        }
        let mut model = program.try_into_inner().ok()?;
        model.make_quiet();
        let options_set = [
            model.try_set_option("presolve", if presolve { "choose" } else { "off" }).is_ok(),
            model.try_set_option("threads", 1).is_ok(),
            model.try_set_option("parallel", "off").is_ok(),
            model.try_set_option("random_seed", 1).is_ok(),
            model.try_set_option("time_limit", limit.as_secs_f64()).is_ok(),
            model.try_set_option("mip_rel_gap", limits.relative_gap).is_ok(),
            model.try_set_option("mip_abs_gap", limits.gap).is_ok(),
            // It looks for what a start already is, for up to a third of the time that a small program takes.
            model.try_set_option("mip_heuristic_run_feasibility_jump", self.start.is_none()).is_ok(),
        ];
        debug_assert!(options_set.iter().all(|set| *set), "HiGHS knows these options");
        if let Some(start) = &self.start {
            // A start that is refused only costs time.
            let _refused = model.try_set_solution(Some(start), None, None, None);
        }
        model.try_solve().ok().map(|solved| self.outcome(&solved))
    }

    fn duals(&self, solved: &SolvedModel) -> Vec<(Tag, f64)> {
        let solution = solved.get_solution();
        let rows = self.tags.iter().copied().zip(solution.dual_rows().iter().copied());
        rows.filter(|(_, dual)| dual.abs() > DUAL_LEAST).collect()
    }

    fn outcome(&self, solved: &SolvedModel) -> Outcome {
        let status = solved.status();
        let integer = self.columns.iter().any(|(.., whole)| *whole);
        // Not `primal_solution_status()`, which panics where HiGHS has no information, as for a program without columns.
        let has_values = solved.int_info_value(c"primal_solution_status") == Ok(HighsSolutionStatus::Feasible as i64);
        let bound = if integer {
            solved.double_info_value(c"mip_dual_bound").ok()
        } else {
            (status == HighsModelStatus::Optimal).then(|| solved.objective_value())
        };
        let meaningful = matches!(
            status,
            HighsModelStatus::Optimal | HighsModelStatus::ReachedTimeLimit | HighsModelStatus::ReachedSolutionLimit
        );
        let duals = if !integer && status == HighsModelStatus::Optimal { self.duals(solved) } else { Vec::new() };
        Outcome {
            duals,
            values: has_values.then(|| solved.get_solution().columns().to_vec()),
            // good_lp does not hand an objective's constant to HiGHS.
            bound: bound.filter(|b| meaningful && b.is_finite()).map(|b| b + self.objective.constant),
            timed_out: status == HighsModelStatus::ReachedTimeLimit,
        }
    }
}

fn definition_of((lower, upper, whole): (f64, f64, bool)) -> good_lp::variable::VariableDefinition {
    let definition = variable().min(lower).max(upper);
    if whole { definition.integer() } else { definition }
}

fn expression(linear: &Linear, made: &[Variable]) -> Expression {
    let mut expression = Expression::with_capacity(linear.terms.len());
    for (col, factor) in &linear.terms {
        expression.add_mul(*factor, made[*col].into_expression());
    }
    expression + linear.constant
}
