use super::*;
use common::{
    ClientId, Limit, ProgramId, SlaveId,
    program::State,
    units::{ByteSize, Duration},
    view::{LanguageOffer, Progress, SlaveState, Usage},
};
use uuid::Uuid;

/// A program that ended, or a running one when there is no outcome.
pub(crate) fn row(outcome: Option<Outcome>) -> ProgramView {
    ProgramView {
        id: ProgramId(Uuid::from_u128(0x0197_a3c4_0000_7000_8000_0000_0000_0001)),
        sequence: 7,
        name: "a.py".into(),
        language: Some("Python".into()),
        state: outcome.as_ref().map_or(State::Running, Outcome::state),
        outcome,
        slave_id: Some(SlaveId(Uuid::from_u128(2))),
        slave_name: Some("s1".into()),
        client: ClientId(Uuid::from_u128(3)),
        user: "alice".into(),
        attempt: 1,
        priority: 50,
        index: 0,
        copies: 1,
        progress: Some(Progress { percent: 40.0, text: "reading".into() }),
        submitted_at: Timestamp(1_700_000_000_123_456),
        started_at: Some(Timestamp(1_700_000_000_200_000)),
        ended_at: None,
        usage: Some(Usage {
            wall: Duration::from_millis(310),
            cpu: Duration::from_millis(300),
            memory_peak: ByteSize(4_096),
        }),
        output_bytes: 5,
        error_bytes: 0,
        compile_bytes: 0,
        output_truncated: false,
        last_line: "hello".into(),
        unknown_since: None,
        files_bytes: 0,
        live: false,
    }
}

#[test]
fn e6_a_program_has_exactly_the_promised_fields() {
    let value = program(&row(None));
    let fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = [
        "id",
        "name",
        "language",
        "state",
        "outcome",
        "slave_id",
        "slave_name",
        "client",
        "user",
        "attempt",
        "priority",
        "progress_percent",
        "submitted_at",
        "started_at",
        "ended_at",
        "usage",
        "output_bytes",
        "error_bytes",
        "output_truncated",
    ];
    assert_eq!(fields[..promised.len()], promised);
    assert_eq!(fields[promised.len()..], ["index", "copies", "unknown_since"], "added later");
    assert_eq!(value["id"], "0197a3c4-0000-7000-8000-000000000001");
    assert_eq!(value["state"], "running");
    assert_eq!(value["outcome"], Value::Null);
    assert_eq!(value["progress_percent"].as_f64(), Some(40.0));
    assert_eq!(value["submitted_at"], "2023-11-14T22:13:20.123Z");
    assert_eq!(value["ended_at"], Value::Null);
    assert_eq!(value["usage"], json!({ "wall_ms": 310, "cpu_ms": 300, "memory_peak_bytes": 4096 }));
}

#[test]
fn e9_every_outcome_has_its_fields() {
    let detail = String::from("evidence");
    for (outcome, state, kind, field, value) in [
        (Outcome::Exited { code: 0 }, "done", "exited", "exit_code", json!(0)),
        (Outcome::Exited { code: 3 }, "failed", "exited", "exit_code", json!(3)),
        (Outcome::Signalled { signal: 11 }, "failed", "signalled", "signal", json!("SIGSEGV")),
        (Outcome::CompileError { detail: detail.clone() }, "failed", "compile-error", "exit_code", Value::Null),
        (
            Outcome::Limit { limit: Limit::WallTime, detail: detail.clone() },
            "failed",
            "limit",
            "limit",
            json!("wall-time"),
        ),
        (Outcome::NotSupported { detail: detail.clone() }, "failed", "not-supported", "limit", Value::Null),
        (Outcome::NotFound { detail: detail.clone() }, "failed", "not-found", "signal", Value::Null),
        (Outcome::Lost { detail }, "lost", "lost", "by", Value::Null),
        (Outcome::Cancelled { by: "bob".into() }, "cancelled", "cancelled", "by", json!("bob")),
    ] {
        let program = program(&row(Some(outcome.clone())));
        assert_eq!(program["state"], state);
        let shown = program["outcome"].as_object().unwrap();
        let fields: Vec<_> = shown.keys().map(String::as_str).collect();
        assert_eq!(fields, ["kind", "exit_code", "signal", "limit", "by", "detail"]);
        assert_eq!((&shown["kind"], &shown[field]), (&json!(kind), &value), "{outcome:?}");
        assert!(shown["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{outcome:?}");
    }
}

#[test]
fn e9_what_a_peer_must_not_send_still_gives_json() {
    let mut odd = row(None);
    odd.progress = Some(Progress { percent: f32::NAN, text: String::new() });
    odd.submitted_at = Timestamp(u64::MAX);
    odd.name = "\u{1b}[2J\"\n".into();
    let value = program(&odd);
    assert_eq!(value["progress_percent"], Value::Null);
    assert_eq!(value["submitted_at"], "1970-01-01T00:00:00.000Z");
    assert!(value.to_string().contains("\\u001b[2J\\\"\\n"));
}

#[test]
fn e8_slaves_and_clients_have_exactly_the_promised_fields() {
    let slave = slave(&SlaveView {
        id: SlaveId(Uuid::from_u128(2)),
        name: "s1".into(),
        address: "10.0.0.1:5".into(),
        state: SlaveState::Draining,
        since: Timestamp(0),
        connected_since: Timestamp(0),
        running: 1,
        ahead: 0,
        slots: 4,
        languages: vec![LanguageOffer { name: "C".into(), version: "12.2".into(), extensions: vec!["c".into()] }],
        isolation: common::view::Isolation {
            level: common::view::IsolationLevel::UserNamespaces,
            guards: vec![common::view::Guard { name: "own-user".into(), on: false, detail: "no root".into() }],
            ..Default::default()
        },
        machine: String::new(),
        release: String::new(),
        aside: None,
        ceiling: Default::default(),
    });
    assert_eq!(
        slave,
        json!({
            "id": "00000000-0000-0000-0000-000000000002", "name": "s1", "address": "10.0.0.1:5",
            "state": "draining", "running": 1, "slots": 4,
            "languages": [{ "name": "C", "version": "12.2" }],
            "connected_since": "1970-01-01T00:00:00.000Z",
            "aside": null,
            "isolation": {
                "level": "user-namespaces",
                "guards": [{ "name": "own-user", "on": false, "detail": "no root" }],
            },
            "ceiling": {
                "wall_time_ms": 2_592_000_000_u64, "cpu_time_ms": null, "memory_bytes": 1_u64 << 46, "processes": 32_768,
                "output_bytes": 4_u64 << 30, "file_size_bytes": 1_u64 << 46, "disk_bytes": 1_u64 << 46,
                "open_files": 65_536, "network": false,
            },
        })
    );
    let client = client(&ClientView {
        id: ClientId(Uuid::from_u128(3)),
        user: "alice".into(),
        role: common::session::Role::Viewer,
        address: "10.0.0.2:6".into(),
        kind: common::view::ClientKind::Gui,
        connected_since: Timestamp(0),
        running: 2,
        waiting: 5,
    });
    assert_eq!(
        client,
        json!({
            "id": "00000000-0000-0000-0000-000000000003", "user": "alice", "address": "10.0.0.2:6",
            "kind": "gui", "connected_since": "1970-01-01T00:00:00.000Z", "running": 2,
        })
    );
}
