//! Whether this machine can run the tests that need root and a container runtime.

use std::io::Write;
use std::path::Path;

/// The programs that tests with real containers need.
const PROGRAMS: [&str; 6] = ["containerd", "runc", "ctr", "docker-registry", "busybox", "ip"];

/// True when the calling test must return at once, because this machine cannot run it. Says so loudly on stderr, past
/// the capture of the test harness; where `CI=true` it panics instead, so that CI never skips silently.
pub fn skip_unless_root_and_containerd() -> bool {
    let Some(missing) = what_is_missing() else { return false };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let message = format!("SKIPPED: {test}: {missing}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}; nothing is skipped where CI=true");
    // Not `eprintln!`: the harness swallows that for a test that passes.
    drop(writeln!(std::io::stderr(), "{message}"));
    true
}

fn what_is_missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| find_program(program).is_none()).collect();
    if !missing.is_empty() {
        return Some(format!("needs {} (tools/setup installs them)", missing.join(", ")));
    }
    None
}

/// The path of a program, also of one in the administrators' directories that a plain `PATH` leaves out.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(|place| Path::new(place).to_owned()));
    places.into_iter().map(|place| place.join(name)).find(|file| file.is_file())
}
