//! The board against the judges: after any changes its parts are what [`check`] and [`evaluate`] say, and undoing brings them back.

#[path = "../tests/oracle/mod.rs"]
#[expect(dead_code, reason = "the oracle serves other tests too")]
mod oracle;

use crate::board::Board;
use crate::instance::Instance;
use crate::{Placed, Problem, Tier, Violation, check, evaluate};

/// Broken hard rules that a board counts, soft units, cost, disruption, as the judges see them.
fn judged(problem: &Problem, placed: &[Placed]) -> (u64, u64, u64, u64) {
    let counted = |constraint: usize| !matches!(problem.constraints[constraint].rule, crate::Rule::AllOrNothing { .. });
    let units = |violation: Violation| match violation {
        Violation::Rule { constraint, units } if counted(constraint) => units,
        _ => 0,
    };
    let hard = check(problem, placed).into_iter().map(units).sum();
    let worth = evaluate(problem, placed);
    let of = |wanted: Tier| worth.iter().find(|(tier, _)| *tier == wanted).map(|(_, value)| *value);
    let cost = of(Tier::Cost).or_else(|| {
        let price = problem.objective.move_price_micros.unwrap_or(0);
        of(Tier::PricedCost).map(|both| both - price * disruption(problem, placed))
    });
    (hard, of(Tier::Soft).unwrap_or(0), cost.unwrap_or(0), disruption(problem, placed))
}

fn disruption(problem: &Problem, placed: &[Placed]) -> u64 {
    let kept = |running: &Placed| {
        placed.iter().find(|p| (p.workload, p.node) == (running.workload, running.node)).map_or(0, |p| p.count)
    };
    let lost = |running: &Placed| {
        u64::from(running.count.saturating_sub(kept(running)))
            * u64::from(problem.workloads[running.workload].move_weight)
    };
    problem.current.iter().map(lost).sum()
}

fn parts(board: &Board) -> (u64, u64, u64, u64) {
    (board.hard as u64, board.soft as u64, board.cost as u64, board.disruption as u64)
}

#[test]
fn a_board_agrees_with_the_judges_after_any_changes() {
    let mut boards = 0;
    for seed in 0..3000 {
        let problem = oracle::small(seed);
        let instance = Instance::new(&problem);
        let Some(mut board) = Board::new(&instance, &[], vec![1; problem.workloads.len()]) else { continue };
        boards += 1;
        let mut dice = oracle::Dice(seed);
        for _ in 0..30 {
            board.settle();
            let before = (parts(&board), board.placed());
            for _ in 0..1 + dice.below(4) {
                let workload = dice.below(problem.workloads.len() as u64) as usize;
                let node = dice.below(problem.nodes.len() as u64) as usize;
                let here = board.count(workload, node);
                if here > 0 && dice.chance(50) {
                    board.change(workload, node, -1);
                } else if board.missing(workload) > 0 && instance.is_allowed(workload, node) {
                    board.change(workload, node, 1);
                }
            }
            let placed = board.placed();
            assert_eq!(parts(&board), judged(&problem, &placed), "seed {seed}: {placed:?}\n{problem:#?}");
            if dice.chance(30) {
                board.undo();
                assert_eq!((parts(&board), board.placed()), before, "seed {seed}: undone");
            }
        }
    }
    assert!(boards > 500, "only {boards} boards");
}

#[test]
fn what_a_board_lets_in_breaks_no_hard_rule() {
    for seed in 0..3000 {
        let problem = oracle::small(seed);
        let instance = Instance::new(&problem);
        let Some(mut board) = Board::new(&instance, &[], vec![1; problem.workloads.len()]) else { continue };
        let mut dice = oracle::Dice(seed);
        for _ in 0..20 {
            let workload = dice.below(problem.workloads.len() as u64) as usize;
            let node = dice.below(problem.nodes.len() as u64) as usize;
            if let Some(soft) = board.may_add(workload, node) {
                let before = board.soft;
                board.change(workload, node, 1);
                assert_eq!(board.soft - before, soft, "seed {seed}");
            }
        }
        let excused = crate::excused(&problem);
        let counted = |violation: &Violation| match violation {
            Violation::Rule { constraint, .. } => {
                !matches!(problem.constraints[*constraint].rule, crate::Rule::AllOrNothing { .. })
            }
            Violation::Capacity { .. } => excused.is_empty(),
            _ => true,
        };
        let broken: Vec<Violation> = check(&problem, &board.placed()).into_iter().filter(counted).collect();
        assert!(broken.is_empty(), "seed {seed}: {broken:?}\n{problem:#?}");
    }
}
