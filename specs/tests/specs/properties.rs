//! Properties over many texts: nothing panics, formatting changes no meaning.

use crate::sources;
use hyphae_specs::{Item, ItemKey, check, format, parse};
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("everything.kdl");

/// Pieces that mean something to the language or to KDL.
const PIECES: [&str; 34] = [
    "{", "}", "\"", "\"\"\"\n", "#\"", "\"#", "/-", "/*", "*/", "//", "\\", "\n", ";", "=", "(", ")", "#true", "true",
    "-1", "0", "1e9", "0x1f", "#nan", "\"50%\"", "service", "place", "require", "near", "cpu=", "\u{feff}", "\u{2028}",
    "é", "[", "\u{0}",
];

/// What items say, without where they say it.
fn meaning(text: &str) -> Vec<(ItemKey, String)> {
    let sources = sources(text);
    let (items, _) = parse(&sources);
    let without_spans = |item: &Item| {
        let debug = format!("{:?}", item.body);
        let mut out = String::new();
        let mut rest = debug.as_str();
        while let Some(at) = rest.find("Span {") {
            out.push_str(&rest[..at]);
            rest = &rest[at + rest[at..].find('}').expect("a span's debug text closes")..];
        }
        out + rest
    };
    items.iter().map(|item| (item.key.clone(), without_spans(item))).collect()
}

/// Everything that may be done with a text, for its panics.
fn exercise(text: &str) {
    let sources = sources(text);
    let checked = check(&sources);
    for one in checked.diagnostics.iter() {
        assert!(
            sources.0[0].text.get(one.span.offset..one.span.offset + one.span.len).is_some(),
            "a span that cuts characters: {one:?}"
        );
    }
    let report = checked.diagnostics.render(&sources, false);
    assert_eq!(report.is_empty(), checked.diagnostics.iter().count() == 0);
    if let Ok(formatted) = format(text) {
        assert_eq!(format(&formatted), Ok(formatted.clone()), "formatting again changes something");
        assert_eq!(meaning(text), meaning(&formatted), "formatting changes the meaning");
    }
}

/// The example with some stretches replaced.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (0..EVERYTHING.len(), 0..30usize, proptest::sample::select(PIECES.to_vec()));
    proptest::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text = EVERYTHING.to_owned();
        for (at, len, piece) in edits {
            let floor = |mut at: usize, text: &str| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let (from, to) = (floor(at, &text), floor(at + len, &text));
            text.replace_range(from..to, piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn mutated_specs_never_panic_and_keep_their_meaning_when_formatted(text in mutated()) {
        exercise(&text);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn any_sequence_of_pieces_is_answered(pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..60)) {
        exercise(&pieces.join(" "));
        exercise(&pieces.concat());
    }
}

#[test]
fn the_example_keeps_its_meaning_when_formatted() {
    let formatted = format(EVERYTHING).unwrap();
    assert_eq!(meaning(EVERYTHING), meaning(&formatted));
    assert_eq!(formatted, EVERYTHING, "the example is laid out as `hyphae fmt` would");
}
