//! Every ```cedar block of docs/policies.md is a policy set that loads; together they are one, too.

use hyphae_policy::{Policies, PolicySource, render};

const DOCUMENT: &str = include_str!("../../docs/policies.md");

/// The blocks, each with the line of its first line.
fn blocks() -> Vec<PolicySource> {
    let mut found: Vec<PolicySource> = Vec::new();
    let mut open = false;
    for (number, line) in DOCUMENT.lines().enumerate() {
        if line == "```cedar" {
            open = true;
            found.push(PolicySource {
                name: "docs/policies.md".to_owned(),
                text: String::new(),
                first_line: number + 2,
            });
        } else if line.starts_with("```") {
            open = false;
        } else if let (true, Some(block)) = (open, found.last_mut()) {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    found
}

#[test]
fn every_block_of_the_documentation_loads() {
    let blocks = blocks();
    assert!(blocks.len() >= 7, "found only {} blocks", blocks.len());
    for block in &blocks {
        let policies =
            Policies::load(std::slice::from_ref(block)).unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
        assert!(!policies.references().is_empty());
    }
    let all = Policies::load(&blocks).unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    assert!(
        all.references().iter().all(|policy| !policy.id.contains('#')),
        "every policy of the documentation has an @id"
    );
}
