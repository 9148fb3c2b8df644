//! Operators over the real socket: plan, apply, change, remove; two at once; policies.

use crate::cluster::{Agent, TestServer, status_of};
use hyphae_api::v1::*;
use tonic::{Code, Status};

fn files(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files.iter().map(|(name, text)| SourceFile { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

fn web(image: &str, replicas: u32) -> String {
    format!(
        "service \"web\" {{\n    image \"registry.example/{image}\"\n    replicas {replicas}\n    resources cpu=0.5 memory=\"64MiB\"\n}}\n"
    )
}

async fn plan(server: &TestServer, files: Vec<SourceFile>, delete: &[&str]) -> PlanReply {
    let delete = delete.iter().map(|name| (*name).to_owned()).collect();
    let request = PlanRequest { files, delete, deadline_millis: 5_000, ..PlanRequest::default() };
    server.client().await.plan(request).await.unwrap().into_inner()
}

async fn apply(server: &TestServer, plan_json: String) -> Result<u64, Status> {
    let reply = server.client().await.apply(ApplyRequest { plan_json }).await?;
    Ok(reply.into_inner().revision)
}

/// Plans and applies; there must be no problems.
async fn plan_and_apply(server: &TestServer, sources: Vec<SourceFile>, delete: &[&str]) -> u64 {
    let reply = plan(server, sources, delete).await;
    assert_eq!(reply.problems, Vec::<String>::new());
    apply(server, reply.plan_json).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_planned_applied_updated_and_removed() {
    let server = TestServer::start().await;
    let agent = Agent::attach(&server, "n1").await;
    let running = agent.obey();
    plan_and_apply(&server, files(&[("web.kdl", &web("web:1", 3))]), &[]).await;
    server.until("all three run", |status| status.rollout.is_none() && status.workloads[0].running == 3).await;
    assert!(
        status_of(&server, "web")
            .await
            .replicas
            .iter()
            .all(|replica| replica.address.ends_with(&format!(":1:1:{}", replica.index + 1)))
    );

    plan_and_apply(&server, files(&[("web.kdl", &web("web:2", 2))]), &[]).await;
    server
        .until("two run the new image", |status| {
            let web = &status.workloads[0];
            status.rollout.is_none() && web.running == 2 && web.replicas.iter().all(|replica| replica.generation == 2)
        })
        .await;
    assert_eq!(status_of(&server, "web").await.image, "registry.example/web:2");
    let sources = server.client().await.sources(SourcesRequest {}).await.unwrap().into_inner().files;
    assert_eq!(sources, files(&[("web.kdl", &web("web:2", 2))]));
    let request = ExplainRequest { workload: "web".into(), ..ExplainRequest::default() };
    let explained = server.client().await.explain(request).await.unwrap().into_inner();
    assert!(explained.explanation_json.contains("\"default/web\""), "{}", explained.explanation_json);

    plan_and_apply(&server, vec![], &["default/web"]).await;
    server.until("nothing is left", |status| status.workloads.is_empty() && status.rollout.is_none()).await;
    running.abort();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_made_during_a_rollout_replaces_it_and_stops_what_the_old_one_was_removing() {
    let server = TestServer::start().await;
    let mut agent = Agent::attach(&server, "n1").await;
    agent.share().await;
    plan_and_apply(&server, files(&[("web.kdl", &web("web:1", 2))]), &[]).await;
    let share = agent.share().await;
    agent.report(&share, ReplicaState::Running).await;
    server.until("the rollout is over", |status| status.rollout.is_none()).await;
    // The removal is under way, its stops are not confirmed, and another workload comes.
    plan_and_apply(&server, vec![], &["default/web"]).await;
    let other = web("api:1", 1).replace("\"web\"", "\"api\"");
    plan_and_apply(&server, files(&[("api.kdl", &other)]), &[]).await;
    let running = agent.obey();
    server
        .until("only the other runs", |status| {
            status.rollout.is_none() && status.workloads.len() == 1 && status.workloads[0].name == "default/api"
        })
        .await;
    running.abort();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_apply_at_once_one_is_refused() {
    let server = TestServer::start().await;
    let agent = Agent::attach(&server, "n1").await;
    let mine = plan(&server, files(&[("web.kdl", &web("web:1", 1))]), &[]).await.plan_json;
    let theirs = plan(&server, files(&[("web.kdl", &web("web:2", 1))]), &[]).await.plan_json;
    let (first, second) = tokio::join!(apply(&server, mine), apply(&server, theirs));
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => panic!("not one of two: {other:?}"),
    };
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("plan again") && refused.message().contains("at revision 1"), "{refused}");
    assert_eq!(server.status().await.revision, 2);
    drop(agent);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_in_sources_come_back_as_text_and_change_nothing() {
    let server = TestServer::start().await;
    let reply = plan(&server, files(&[("web.kdl", "service \"web\" {\n    imag \"x\"\n}\n")]), &[]).await;
    assert_eq!(reply.plan_json, "");
    assert!(reply.problems[0].contains("web.kdl") && reply.problems[0].contains("imag"), "{:?}", reply.problems);
    let reply = plan(&server, vec![], &["default/nothing"]).await;
    assert!(reply.problems[0].contains("default/nothing"), "{:?}", reply.problems);
    assert_eq!(server.status().await.revision, 0);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_plan_is_refused() {
    let server = TestServer::start().await;
    let agent = Agent::attach(&server, "n1").await;
    let plan = plan(&server, files(&[("web.kdl", &web("web:1", 1))]), &[]).await.plan_json;
    let altered = plan.replace("\"count\":1", "\"count\":2");
    assert_ne!(altered, plan);
    let refused = apply(&server, altered).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(server.status().await.workloads.is_empty());
    drop(agent);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_bind_the_operators() {
    let server = TestServer::start().await;
    let agent = Agent::attach(&server, "n1").await;
    let policies = "permit (principal, action, resource);\n\
        @id(\"no-cordon\") @message(\"nodes are the night shift's\")\n\
        forbid (principal, action == Action::\"cordon\", resource);\n\
        @id(\"no-web\")\nforbid (principal, action in Action::\"deploy\", resource == Service::\"default/web\");\n";
    plan_and_apply(&server, files(&[("p.cedar", policies)]), &[]).await;
    let cordon = SetNodeSchedulableRequest { node: "n1".into(), schedulable: false };
    let denied = server.client().await.set_node_schedulable(cordon).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(denied.message().contains("the night shift's (p.cedar:2"), "{denied}");
    let plan = plan(&server, files(&[("web.kdl", &web("web:1", 1))]), &[]).await.plan_json;
    assert!(plan.contains("\"denied\""), "{plan}");
    let denied = apply(&server, plan).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    assert!(denied.message().contains("no-web"), "{denied}");
    drop(agent);
    server.shutdown().await;
}
