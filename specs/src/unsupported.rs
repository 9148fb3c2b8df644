//! What the language has and this version does not enforce yet. It is refused: a promise that is not kept would be worse.

use crate::{CountOrPercent, Diagnostic, Item, ItemBody, Mounted, Span, Workload};

/// An error for each construct that is understood but not enforced yet.
pub fn unsupported(items: &[Item]) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let buys = items.iter().any(|item| matches!(&item.body, ItemBody::Pool(pool) if !pool.instances.is_empty()));
    for item in items {
        match &item.body {
            // Machines would be bought only to balance what is left of them.
            ItemBody::Balance(balance) if buys => out.push(not_yet(
                balance.span,
                "`balance` beside a `pool` is not supported yet",
                "cannot look away from machines that are not bought",
                "remove it; `safety` works with pools",
            )),
            ItemBody::Balance(_) => {}
            ItemBody::Workload(one) => workload(one, &mut out),
            ItemBody::Pool(_)
            | ItemBody::Load(_)
            | ItemBody::Node(_)
            | ItemBody::Team(_)
            | ItemBody::Constraint(_)
            | ItemBody::Reserve(_)
            | ItemBody::Safety(_)
            | ItemBody::Objective(_) => {}
        }
    }
    out
}

fn workload(workload: &Workload, out: &mut Vec<Diagnostic>) {
    let mut mounts = |mounts: &[Mounted], word: &str, help: &str| {
        let one = |mount: &Mounted| {
            not_yet(mount.span, &format!("`{word}` is not supported yet"), "would not be handed in", help)
        };
        out.extend(mounts.iter().map(one));
    };
    mounts(&workload.configs, "config", "put the file into the image, or its content into a variable with `env`");
    mounts(
        &workload.secrets,
        "secret",
        "have the program fetch it; do not write it into `env`, where everybody can read it",
    );
    if let Some(health) = &workload.health {
        let help = "remove it; a replica counts as healthy while its process runs, and is started again when it ends";
        out.push(not_yet(health.span, "`health` is not supported yet", "would not be checked", help));
    }
    if let Some(schedule) = &workload.schedule {
        let help = "remove it: the job runs once, when it is applied";
        out.push(not_yet(schedule.span, "`schedule` is not supported yet", "would not be followed", help));
    }
    let surge = workload.update.max_surge.as_ref();
    if let Some(surge) =
        surge.filter(|surge| !matches!(surge.value, CountOrPercent::Count(0) | CountOrPercent::Percent(0)))
    {
        let help = "remove it or write 0; `max-unavailable=` bounds how many are replaced at once";
        out.push(not_yet(surge.span, "`max-surge` above 0 is not supported yet", "none would be added", help));
    }
}

fn not_yet(span: Span, message: &str, label: &str, help: &str) -> Diagnostic {
    Diagnostic::error("hyphae::not_supported_yet", span, message, label).help(help)
}
