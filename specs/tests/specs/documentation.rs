//! Every spec in the documentation and the examples is one that works.

use hyphae_specs::{Source, Sources, format, parse, render, resolve};

/// The KDL blocks of a Markdown text, each as a source that starts at its line.
fn blocks(name: &str, markdown: &str) -> Vec<Source> {
    let mut blocks = Vec::new();
    let mut open: Option<Source> = None;
    for (line, text) in markdown.lines().enumerate() {
        match open.as_mut() {
            None if text.trim() == "```kdl" => {
                open = Some(Source { name: name.to_owned(), text: String::new(), first_line: line + 2 });
            }
            Some(_) if text.trim() == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.text.push_str(text);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{name} has a block that is never closed");
    blocks
}

#[test]
fn every_block_of_the_reference_parses_and_is_formatted() {
    let blocks = blocks("docs/specs.md", include_str!("../../../docs/specs.md"));
    assert!(blocks.len() >= 11, "only {} blocks were found", blocks.len());
    for block in blocks {
        let text = block.text.clone();
        let sources = Sources(vec![block]);
        let (items, problems) = parse(&sources);
        assert!(problems.is_empty(), "{}", render(&problems, &sources, false));
        assert!(!items.is_empty(), "a block without a node: {text}");
        assert_eq!(format(&text).as_deref(), Ok(text.as_str()), "not formatted");
    }
}

#[test]
fn all_blocks_of_the_reference_are_one_model() {
    let sources = Sources(blocks("docs/specs.md", include_str!("../../../docs/specs.md")));
    let (items, _) = parse(&sources);
    let (_, problems) = resolve(items);
    assert!(problems.is_empty(), "{}", render(&problems, &sources, false));
}
