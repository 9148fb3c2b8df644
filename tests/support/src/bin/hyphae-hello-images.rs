//! Pushes the images of specs/examples/hello to a registry: `hyphae-hello-images localhost:5500`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(authority) = std::env::args().nth(1) else {
        eprintln!("usage: hyphae-hello-images HOST:PORT");
        return ExitCode::from(2);
    };
    for (name, tag, spec) in hyphae_testing::hello::images() {
        match hyphae_testing::image::push_from_here(&authority, name, tag, &spec) {
            Ok(pushed) => println!("{}  {}", pushed.reference, pushed.manifest_digest),
            Err(error) => {
                eprintln!("cannot push {name}:{tag} to {authority}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
