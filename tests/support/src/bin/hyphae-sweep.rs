//! Removes what killed test runs have left behind, or, with arguments, all that belongs to the given directories.

use std::path::Path;

fn main() {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    for directory in &directories {
        hyphae_testing::scratch::tear_down(Path::new(directory));
    }
    if directories.is_empty() {
        let swept = hyphae_testing::scratch::sweep();
        if swept > 0 {
            eprintln!("swept {swept} directories of test runs that were killed");
        }
    }
}
