//! A containerd of the agent's own, as `hyphae dev` uses it.

use hyphae_nodeagent::containerd_process::{ContainerdProcess, ContainerdProcessError};
use hyphae_testing::{Scratch, process, skip_unless_root_and_containerd};

#[tokio::test]
async fn it_answers_ends_and_can_be_started_again_on_the_same_directory() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let scratch = Scratch::new();
    for _ in 0..2 {
        let containerd = ContainerdProcess::start(&scratch.join("containerd")).await.unwrap();
        let id = containerd.id().unwrap();
        assert!(containerd.socket().exists() && process::is_alive(id));
        containerd.stop().await.unwrap();
        assert!(!process::is_alive(id));
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "puts a file in the way")]
async fn one_that_cannot_run_is_told_with_the_end_of_its_log() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let scratch = Scratch::new();
    let directory = scratch.join("containerd");
    let missing = ContainerdProcess::start_program("/nowhere/containerd", &directory).await.unwrap_err();
    assert!(matches!(missing, ContainerdProcessError::Spawn { .. }), "{missing}");
    // A file where a directory has to be.
    std::fs::write(directory.join("root"), "").unwrap();
    let broken = ContainerdProcess::start(&directory).await.unwrap_err().to_string();
    assert!(broken.starts_with("containerd ended at once (exit status: 1); the end of "), "{broken}");
    assert!(broken.contains("not a directory"), "{broken}");
}
