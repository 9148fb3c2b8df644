//! Pulling on real containerd and a real registry, and what is told when it does not work.

use crate::support::{PATIENCE, TestNode};
use hyphae_api::v1::{LogStart, ReplicaState};
use hyphae_nodeagent::agent::AgentConfig;
use hyphae_nodeagent::containerd::Containerd;
use hyphae_nodeagent::images::Images;
use hyphae_testing::{ImageSpec, skip_unless_root_and_containerd, wait_until};
use oci_client::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

const FOREVER: &str = "while :; do sleep 1; done";

/// Images as another part of the same agent sees them. To be called in a runtime.
fn images(config: &AgentConfig) -> Images {
    let containerd = Containerd::new(&config.containerd_socket, &config.containerd_namespace, &config.snapshotter);
    Images::new(containerd, vec![])
}

#[test]
fn what_cannot_be_pulled_is_told_with_its_reason_and_tried_again() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let good = node.push("team/app", &ImageSpec::busybox());
    let corrupt = node.push("team/corrupt", &ImageSpec::busybox().file("/secret", "of this image alone"));
    node.registry.corrupt(&corrupt.layer_digests[1]);
    let authority = node.registry.authority();
    let missing = format!("{authority}/team/app:2");
    let unknown = format!("{authority}/team/nothing:1");
    let pinned = format!("{authority}/team/app@{}", good.manifest_digest);
    let elsewhere = format!("{authority}/team/app@sha256:{}", "0".repeat(64));
    let images = [
        ("a/missing", missing.as_str()),
        ("a/unknown", &unknown),
        ("a/corrupt", &corrupt.reference),
        ("a/malformed", "Not An Image"),
        ("a/pinned", &pinned),
        ("a/elsewhere", &elsewhere),
        ("a/nobody", "localhost:1/team/app:1"),
    ];
    let replicas: Vec<_> = images.iter().map(|(name, image)| node.replica(name, 0, image, FOREVER)).collect();
    node.want(&replicas);
    node.wait_state("a/pinned", 0, ReplicaState::Running);
    let layer = &corrupt.layer_digests[1];
    for (name, reason) in [
        ("a/missing", format!("image {missing} does not exist in its registry; next try in ")),
        ("a/unknown", format!("image {unknown} does not exist in its registry; next try in ")),
        ("a/elsewhere", format!("image {elsewhere} does not exist in its registry; next try in ")),
        (
            "a/corrupt",
            format!("a layer of image {} is not what its digest {layer} says: it is corrupt", corrupt.reference),
        ),
        ("a/nobody", "registry localhost:1 cannot be reached: ".to_owned()),
    ] {
        let status = node.wait_state(name, 0, ReplicaState::Backoff);
        assert!(status.reason.starts_with(&reason), "{name}: {}", status.reason);
    }
    let status = node.wait_state("a/malformed", 0, ReplicaState::Failed);
    assert!(status.reason.starts_with("image \"Not An Image\" cannot be read: "), "{}", status.reason);
    // What was missing arrives.
    hyphae_testing::image::push(&node.registry, "team/app", "2", &ImageSpec::busybox());
    node.wait_state("a/missing", 0, ReplicaState::Running);
}

#[test]
fn what_is_here_starts_while_the_registry_is_down_and_the_rest_when_it_is_back() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let here = node.push("here", &ImageSpec::busybox()).reference;
    let later = node.push("later", &ImageSpec::busybox().file("/later", "x")).reference;
    let first = node.replica("a/here", 0, &here, FOREVER);
    node.want(std::slice::from_ref(&first));
    node.wait_state("a/here", 0, ReplicaState::Running);
    node.registry.stop();
    // A new agent, which has pulled nothing itself.
    node.stop_agent();
    node.start_agent();
    node.stop_server();
    node.start_server();
    let second = node.replica("a/here", 1, &here, FOREVER);
    let third = node.replica("a/later", 0, &later, FOREVER);
    node.want(&[first, second, third]);
    node.wait_state("a/here", 1, ReplicaState::Running);
    let status = node.wait_state("a/later", 0, ReplicaState::Backoff);
    assert!(status.reason.contains("cannot be reached"), "{}", status.reason);
    node.registry.start_again();
    node.wait_state("a/later", 0, ReplicaState::Running);
}

#[test]
fn images_are_unpacked_as_they_were_built_and_share_what_they_can() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let node = TestNode::start();
    let one = node.push("one", &ImageSpec::busybox().file("/etc/one", "1"));
    let two = node.push("two", &ImageSpec::busybox().file("/etc/two", "2").env("A", "b"));
    let layers_seen = AtomicUsize::new(0);
    let (first, second, again) = node.block_on(|| {
        let (one, two, config, seen) =
            (one.reference.clone(), two.reference.clone(), node.config.clone(), &layers_seen);
        async move {
            let images = images(&config);
            let (first, second) = tokio::join!(
                images.pull(&one, |done, _| {
                    seen.fetch_max(done, Ordering::Relaxed);
                }),
                images.pull(&two, |_, _| {})
            );
            let again = images.pull(&one, |_, _| unreachable!("it is here")).await;
            (first.unwrap(), second.unwrap(), again.unwrap())
        }
    });
    assert_eq!(layers_seen.into_inner(), 2);
    assert_eq!(first, again);
    assert_ne!(first.chain_id, second.chain_id);
    assert!(second.config.run.env.contains(&"A=b".to_owned()), "{second:?}");
    let blobs =
        node.containerd.ctr(&["--namespace", &node.config.containerd_namespace, "content", "list", "-q"]).success();
    let mut expected: BTreeSet<&str> = one.layer_digests.iter().chain(&two.layer_digests).map(String::as_str).collect();
    expected.extend([one.config_digest.as_str(), &one.manifest_digest, &two.config_digest, &two.manifest_digest]);
    assert_eq!(blobs.stdout.lines().collect::<BTreeSet<_>>(), expected);
    assert_eq!(expected.len(), 7, "both share a layer");
}

#[test]
fn an_image_that_nothing_uses_goes_with_its_content_and_one_in_use_stays() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let node = TestNode::start();
    let used = node.push("used", &ImageSpec::busybox().file("/etc/one", "1"));
    let unused = node.push("unused", &ImageSpec::busybox().file("/etc/two", "2"));
    let removed = node.block_on(|| {
        let (keep, drop, config) = (used.reference.clone(), unused.reference.clone(), node.config.clone());
        async move {
            let images = images(&config);
            images.pull(&keep, |_, _| {}).await.unwrap();
            images.pull(&drop, |_, _| {}).await.unwrap();
            let (used, mut since) = (BTreeSet::from([keep]), BTreeMap::new());
            let early = images.remove_unused(&used, &mut since, 1_000, 5_000).await.unwrap();
            assert_eq!(early, Vec::<String>::new());
            images.remove_unused(&used, &mut since, 6_000, 5_000).await.unwrap()
        }
    });
    assert_eq!(removed, [unused.reference]);
    let namespace = &node.config.containerd_namespace;
    let gone = || {
        let blobs = node.containerd.ctr(&["--namespace", namespace, "content", "list", "-q"]).success().stdout;
        (!blobs.contains(&unused.layer_digests[1])).then_some(blobs)
    };
    let blobs = wait_until("garbage collection", PATIENCE, gone);
    assert!(used.layer_digests.iter().all(|layer| blobs.contains(layer)), "{blobs}");
    let snapshots = node.containerd.ctr(&["--namespace", namespace, "snapshots", "list"]).success().stdout;
    assert_eq!(snapshots.lines().skip(1).count(), 2, "{snapshots}");
}

#[test]
fn an_image_of_an_index_is_the_one_for_this_machine() {
    if skip_unless_root_and_containerd() {
        return;
    }
    let mut node = TestNode::start();
    let here = node.push("multi", &ImageSpec::busybox().file("/which", "this one\n"));
    let index = |architecture: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
               {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},
                 "platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            here.manifest_digest,
            manifest_size(&node, &here.manifest_digest),
        )
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    put_index(&node, "multi", "index", index(arch));
    put_index(&node, "multi", "foreign", index("mips"));
    let authority = node.registry.authority();
    let good = node.replica("a/good", 0, &format!("{authority}/multi:index"), "cat /which; sleep 1000");
    let foreign = node.replica("a/foreign", 0, &format!("{authority}/multi:foreign"), FOREVER);
    node.want(&[good, foreign]);
    node.wait_state("a/good", 0, ReplicaState::Running);
    let output = wait_until("output", PATIENCE, || {
        let log = LogStart { request: 1, workload: "a/good".into(), ..LogStart::default() };
        Some(node.logs(log).0).filter(|text| !text.is_empty())
    });
    assert_eq!(output, "this one\n");
    let status = node.wait_state("a/foreign", 0, ReplicaState::Backoff);
    assert!(
        status.reason.contains(&format!("it is not built for linux/{arch}, only for linux/mips")),
        "{}",
        status.reason
    );
}

/// The size of a manifest that was pushed.
fn manifest_size(node: &TestNode, digest: &str) -> usize {
    let at = Reference::with_digest(node.registry.authority(), "multi".into(), digest.into());
    let accepted = ["application/vnd.oci.image.manifest.v1+json"];
    node.block_on(|| async move {
        let pulled = client().pull_manifest_raw(&at, &RegistryAuth::Anonymous, &accepted).await;
        pulled.unwrap().0.len()
    })
}

fn put_index(node: &TestNode, name: &str, tag: &str, index: String) {
    let at = Reference::with_tag(node.registry.authority(), name.into(), tag.into());
    let kind = "application/vnd.oci.image.index.v1+json".parse().unwrap();
    node.block_on(|| async move { client().push_manifest_raw(&at, index.into_bytes(), kind).await.unwrap() });
}

fn client() -> oci_client::Client {
    oci_client::Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })
}
