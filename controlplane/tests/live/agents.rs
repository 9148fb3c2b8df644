//! The server over its real socket, with agents that only pretend to run what they are given.

use crate::cluster::{Agent, TestServer, one_workload, status_of};
use hyphae_api::v1::*;
use std::time::Duration;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_wave_by_wave_as_agents_report() {
    let mut server = TestServer::with_release(one_workload(&[&["n1"], &["n2"]]), &["n1", "n2"]).await;
    let mut first = Agent::attach(&server, "n1").await;
    let share = first.share().await;
    assert_eq!((share.replicas.len(), share.replicas[0].index), (1, 0));
    let mut second = Agent::attach(&server, "n2").await;
    assert_eq!(second.share().await.replicas.len(), 0, "the second wave is not released yet");

    let status = status_of(&server, "default/web").await;
    assert_eq!((status.wanted, status.running), (2, 0));
    assert!(server.status().await.rollout.unwrap().waiting_for[0].contains("default/web[0]"));

    first.report(&share, ReplicaState::Running).await;
    let share = second.share().await;
    assert_eq!((share.replicas.len(), share.replicas[0].index), (1, 1));
    second.report(&share, ReplicaState::Running).await;
    server.until("the rollout is over", |status| status.rollout.is_none()).await;
    assert_eq!(status_of(&server, "default/web").await.running, 2);

    let kinds: Vec<String> = server.events().await.into_iter().map(|event| event.kind).collect();
    for kind in ["node-connected", "replica-running", "rollout-wave", "rollout-finished"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} is not among {kinds:?}");
    }

    // A new start keeps everything and learns from the agents what runs.
    server.restart().await;
    let status = status_of(&server, "default/web").await;
    assert_eq!(status.replicas[0].state(), ReplicaState::Unknown);
    let mut first = Agent::attach(&server, "n1").await;
    let share = first.share().await;
    first.report(&share, ReplicaState::Running).await;
    server.until("n1 is known again", |status| status.workloads[0].running == 1).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_completes_leaves_the_share_and_is_counted() {
    let mut release = one_workload(&[&["n1"]]);
    release.workloads.get_mut("default/web").unwrap().kind = "job".to_owned();
    let server = TestServer::with_release(release, &["n1"]).await;
    let mut agent = Agent::attach(&server, "n1").await;
    let share = agent.share().await;
    agent.report(&share, ReplicaState::Completed).await;
    assert_eq!(agent.share().await.replicas, []);
    let status = status_of(&server, "default/web").await;
    assert_eq!((status.completed, status.replicas[0].exit_code), (1, Some(0)));
    assert_eq!((status.replicas[0].state(), status.replicas[0].node.as_str()), (ReplicaState::Completed, "n1"));
    let request = LogsRequest { workload: "web".into(), index: Some(0), follow: false, tail_lines: 0 };
    let _logs = server.client().await.logs(request).await.unwrap();
    assert_eq!(agent.log_start().await.index, 0, "its output is still on the node");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_registered_cordoned_and_told() {
    let server = TestServer::start().await;
    let mut agent = Agent::attach(&server, "n1").await;
    agent.share().await;
    let nodes = server.nodes().await;
    assert_eq!((nodes[0].name.as_str(), nodes[0].connected, nodes[0].schedulable), ("n1", true, true));
    assert!(nodes[0].prefix.starts_with("fd") && nodes[0].prefix.ends_with("/80"), "{}", nodes[0].prefix);
    assert_eq!(agent.prefix, nodes[0].prefix);
    let mut client = server.client().await;
    client.set_node_schedulable(SetNodeSchedulableRequest { node: "n1".into(), schedulable: false }).await.unwrap();
    assert!(!server.nodes().await[0].schedulable);
    let unknown = SetNodeSchedulableRequest { node: "n9".into(), schedulable: false };
    let error = client.set_node_schedulable(unknown).await.unwrap_err();
    assert_eq!((error.code(), error.message().contains("n9")), (Code::NotFound, true), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_with_the_same_name_is_refused() {
    let server = TestServer::start().await;
    let mut agent = Agent::attach(&server, "n1").await;
    agent.share().await;
    let error = Agent::try_attach(&server, Agent::hello("n1")).await.err().unwrap();
    assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    drop(agent);
    let mut left = 50;
    while Agent::try_attach(&server, Agent::hello("n1")).await.is_err() {
        left -= 1;
        assert!(left > 0, "the name is free again when the first agent has gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_know_more_or_say_nonsense_are_refused() {
    let server = TestServer::start().await;
    for (hello, code, words) in [
        (Hello { revision: 99, ..Agent::hello("n1") }, Code::FailedPrecondition, "acted on revision 99"),
        (Hello { prefix: "fd00::/64".into(), ..Agent::hello("n1") }, Code::InvalidArgument, "/80"),
        (Agent::hello("No Name"), Code::InvalidArgument, "node's name"),
    ] {
        let error = Agent::try_attach(&server, hello).await.err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    assert!(server.nodes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_100_mb_gets_a_clear_error_and_the_server_lives() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let error = client.apply(ApplyRequest { plan_json: " ".repeat(100 << 20) }).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("larger than 16 MiB"), "{error}");
    assert_eq!(server.status().await.revision, 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_instead_of_a_plan_is_refused() {
    let server = TestServer::start().await;
    let error = server.client().await.apply(ApplyRequest { plan_json: "{".into() }).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("not a plan document"), "{error}");
    let error = server.client().await.status(StatusRequest { workloads: vec!["web".into()] }).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "no workload is named \"default/web\""));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_replicas_node_and_stop_with_the_reader() {
    let server = TestServer::with_release(one_workload(&[&["n1"]]), &["n1"]).await;
    let request = LogsRequest { workload: "web".into(), index: None, follow: true, tail_lines: 10 };
    let error = server.client().await.logs(request.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");

    let mut agent = Agent::attach(&server, "n1").await;
    agent.share().await;
    let mut client = server.client().await;
    let mut logs = client.logs(request).await.unwrap().into_inner();
    let start = agent.log_start().await;
    assert_eq!((start.workload.as_str(), start.index, start.tail_lines, start.follow), ("default/web", 0, 10, true));
    agent.log(start.request, b"hello\n").await;
    let chunk = logs.message().await.unwrap().unwrap();
    assert_eq!((chunk.index, chunk.data.as_slice()), (0, b"hello\n".as_slice()));
    drop(logs);
    drop(client);
    assert_eq!(agent.log_stop().await.request, start.request);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_is_kept_off_the_data_and_off_the_socket() {
    let server = TestServer::start().await;
    let error = server.try_another(server.data_dir(), "other.sock").await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    let error = server.try_another("other", "server.sock").await.unwrap_err().to_string();
    assert!(error.contains("another server is listening"), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_with_the_server() {
    let server = TestServer::start().await;
    let mut agent = Agent::attach(&server, "n1").await;
    agent.share().await;
    let request = EventsRequest { follow: true, workload: String::new() };
    let mut events = server.client().await.events(request).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().kind, "node-connected");
    let ended = tokio::time::timeout(Duration::from_secs(4), server.shutdown()).await;
    assert!(ended.is_ok(), "the server waits for its readers");
    while let Ok(Some(_)) = events.message().await {}
}
