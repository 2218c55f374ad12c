//! A server of version 0.3.0: what it leaves out is filled in, what it lacks is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fake;

use fake::{Fake, Peer};
use rstmdb_client::Client;
use rstmdb_types::error::reason;
use rstmdb_types::*;
use serde_json::{Value, json};

/// Asks, checks what arrives and answers.
fn ask<R: OperationRequest + Clone>(
    (client, peer): &mut (Client, Peer),
    request: &R,
    params: Value,
    result: Value,
) -> R::Result {
    let pending = client.call(request.clone());
    let asked = peer.expect(R::OPERATION.wire_name());
    assert_eq!(asked.params, params);
    peer.ok(&asked, result);
    pending.wait().unwrap()
}

#[test]
fn what_is_known_is_read_and_the_rest_is_absent() {
    let fake = Fake::new();
    let mut both = fake.connect_old(fake.options());
    let server = both.0.server().unwrap();
    assert_eq!((server.version.as_str(), server.extended), ("0.3.0", false));

    let id = json!({"instance_id": "a"});
    let request = GetInstanceRequest { instance_id: "a".into() };
    let old = json!({
        "machine": "m", "version": 1, "state": "s", "ctx": null, "last_wal_offset": 1u64 << 40,
    });
    let got = ask(&mut both, &request, id, old.clone());
    assert_eq!((got.instance_id.as_str(), got.ctx.as_str()), ("a", "{}"));
    assert_eq!((got.created_at, got.updated_at, got.last_wal_offset), (None, None, 1 << 40));

    let applied = json!({
        "from_state": "s", "to_state": "t", "ctx": null, "wal_offset": 7, "applied": true,
    });
    let request = ApplyEventRequest::new("a", "E");
    let params = json!({"instance_id": "a", "event": "E"});
    let got = ask(&mut both, &request, params, applied.clone());
    assert_eq!((got.ctx.as_str(), got.to_state.as_str()), ("{}", "t"));

    let request = BatchRequest {
        mode: BatchMode::BestEffort,
        ops: vec![
            BatchOperation::ApplyEvent(ApplyEventRequest::new("a", "E")),
            BatchOperation::GetInstance(GetInstanceRequest { instance_id: "b".into() }),
            BatchOperation::GetInstance(GetInstanceRequest { instance_id: "c".into() }),
        ],
        idempotency_key: None,
    };
    let params = serde_json::to_value(&request).unwrap();
    let missing = json!({"code": "INSTANCE_NOT_FOUND", "message": "not found", "retryable": false});
    let results = json!({"results": [
        {"status": "ok", "result": applied, "error": null},
        {"status": "ok", "result": old, "error": null},
        {"status": "error", "result": null, "error": missing},
    ]});
    let got = ask(&mut both, &request, params, results);
    let Some(BatchOperationResult::GetInstance(second)) = &got.results[1].result else { panic!() };
    assert_eq!((second.instance_id.as_str(), second.ctx.as_str()), ("b", "{}"));
    assert!(matches!(got.results[0].result, Some(BatchOperationResult::ApplyEvent(_))));
    let error = got.results[2].error.as_ref().unwrap();
    assert_eq!(error.code(), ErrorCode::InstanceNotFound);
}

#[test]
fn what_a_definition_does_is_never_left_out_without_a_word() {
    let fake = Fake::new();
    let mut both = fake.connect_old(fake.options());
    let put = |change: Value| {
        let mut definition = json!({
            "states": ["a"], "initial": "a", "transitions": [{"from": "a", "event": "E", "to": "a"}],
        });
        for (key, value) in change.as_object().unwrap() {
            match definition.get(key) {
                None if key != "merge" => definition["transitions"][0][key] = value.clone(),
                _ => definition[key] = value.clone(),
            }
        }
        PutMachineRequest::new("m", 1, definition)
    };
    let changes = [
        json!({"merge": false}),
        json!({"actions": [{"emit": "x"}]}),
        json!({"transitions": [{"from": "a", "always": true, "to": "a"}]}),
        json!({"transitions": [{"from": "a", "event": "E", "to": "a", "merge": ["n"]}]}),
    ];
    for change in changes {
        let error = both.0.call(put(change)).wait().unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED), "{error}");
        assert!(error.message().contains("0.3.0 does not know definitions that do"), "{error}");
    }
    let request = put(json!({"meta": {"actions": 1}}));
    let params = serde_json::to_value(&request).unwrap();
    let stored = json!({"machine": "m", "version": 1, "stored_checksum": "c", "created": true});
    ask(&mut both, &request, params, stored);
}

#[test]
fn an_instance_without_a_context_gets_an_empty_one() {
    let fake = Fake::new();
    let mut both = fake.connect_old(fake.options());
    // Of itself the server would take null, and then merge nothing into it, ever.
    let create = CreateInstanceRequest::new("a", "m", 1);
    let params = json!({"instance_id": "a", "machine": "m", "version": 1, "initial_ctx": {}});
    let created = json!({"instance_id": "a", "state": "s", "wal_offset": 1});
    ask(&mut both, &create, params.clone(), created.clone());
    let request = BatchRequest {
        mode: BatchMode::BestEffort,
        ops: vec![BatchOperation::CreateInstance(create.clone())],
        idempotency_key: None,
    };
    let params =
        json!({"mode": "best_effort", "ops": [{"op": "CREATE_INSTANCE", "params": params}]});
    let results = json!({"results": [{"status": "ok", "result": created, "error": null}]});
    ask(&mut both, &request, params, results);
    // A server of today does so by itself.
    let mut both = fake.connect(fake.options());
    let params = json!({"instance_id": "a", "machine": "m", "version": 1});
    ask(&mut both, &create, params, created);
}

#[test]
fn of_figures_and_logs_what_is_known_is_read() {
    let fake = Fake::new();
    let mut both = fake.connect_old(fake.options());
    let info = json!({
        "server_name": "rstmdb", "server_version": "0.3.0", "protocol_version": 1,
        "features": ["idempotency", "batch", "wal_read"], "max_frame_bytes": 16 << 20,
        "max_batch_ops": 100,
    });
    let got = ask(&mut both, &InfoRequest {}, json!({}), info);
    assert_eq!((got.server_version.as_str(), got.backend.as_str()), ("0.3.0", "remote"));
    let limits = KnownLimits { batch_operations_max: Some(100), ..KnownLimits::default() };
    assert_eq!(got.limits, limits);
    assert_eq!((got.writable, got.instances, got.machines), (None, None, None));
    assert_eq!((&got.database_id, &got.health, got.latest_offset), (&None, &None, None));
    let text = serde_json::to_value(&got).unwrap();
    let told = json!({
        "server_name": "rstmdb", "server_version": "0.3.0", "backend": "remote",
        "features": ["idempotency", "batch", "wal_read"], "limits": {"batch_operations_max": 100},
    });
    assert_eq!(text, told);

    let stats = json!({
        "entry_count": 5, "segment_count": 1, "total_size_bytes": 9, "latest_offset": 8,
        "io_stats": {"bytes_written": 1, "bytes_read": 2, "writes": 3, "reads": 4, "fsyncs": 5},
    });
    let got = ask(&mut both, &WalStatsRequest {}, json!({}), stats);
    assert_eq!((got.entry_count, got.first_offset, got.io_stats.fsyncs), (5, None, 5));

    // It has no limit of its own, so one is sent.
    let request = WalReadRequest::new(3);
    let params = json!({"from_offset": 3, "limit": 100});
    let entry = json!({
        "type": "create_instance", "instance_id": "a", "machine": "m", "version": 1,
        "initial_state": "s", "initial_ctx": null,
    });
    let page = json!({
        "records": [{"sequence": 1, "offset": 9, "entry": entry}], "next_offset": 10,
    });
    let got = ask(&mut both, &request, params.clone(), page);
    assert_eq!((got.records[0].timestamp, got.next_offset), (None, 10));
    let WalEntry::CreateInstance { initial_ctx, .. } = &got.records[0].entry else { panic!() };
    assert_eq!(initial_ctx, &Json::empty_object());
    let got = ask(&mut both, &request, params, json!({"records": [], "next_offset": null}));
    assert_eq!(got.next_offset, 3);

    let list = json!({"instances": [], "total": 0, "has_more": false});
    let got = ask(&mut both, &ListInstancesRequest::default(), json!({}), list);
    assert_eq!(got.next_cursor, None);
    let put = PutMachineRequest::new("m", 1, Json::empty_object());
    let params = json!({"machine": "m", "version": 1, "definition": {}});
    let stored = json!({"machine": "m", "version": 1, "stored_checksum": "x", "created": true});
    assert!(ask(&mut both, &put, params, stored).warnings.is_empty());
}

fn refused<R: OperationRequest + Clone>((client, peer): &mut (Client, Peer), request: &R) {
    let error = client.call(request.clone()).wait().map(drop).unwrap_err();
    let operation = R::OPERATION.wire_name();
    assert_eq!(error.code(), ErrorCode::BadRequest, "{operation}");
    assert_eq!(error.reason(), Some(reason::UNSUPPORTED), "{operation}");
    assert_eq!(error.operation(), Some(operation));
    assert!(error.message().contains("0.3.0"), "{error}");
    // It was not sent: the server hears the next request first.
    let ping = client.call(PingRequest {});
    peer.pong();
    ping.wait().unwrap();
}

#[test]
fn what_it_lacks_is_refused_here() {
    let fake = Fake::new();
    let mut both = fake.connect_old(fake.options());
    refused(&mut both, &CountInstancesRequest::default());
    refused(&mut both, &HistoryRequest::new("a"));
    refused(&mut both, &BackupRequest::default());
    refused(&mut both, &VerifyRequest::default());
    refused(&mut both, &ListSnapshotsRequest { instance_id: "a".into() });
    refused(&mut both, &DropSnapshotRequest { snapshot_id: "snap-0".into() });
    refused(&mut both, &PermittedRequest { instance_id: "a".into(), payload: None });
    let list = ListInstancesRequest::default();
    refused(&mut both, &ListInstancesRequest { cursor: Some("c".into()), ..list.clone() });
    refused(&mut both, &ListInstancesRequest { version: Some(1), ..list });
    let put = PutMachineRequest::new("m", 1, Json::empty_object());
    refused(&mut both, &PutMachineRequest { strict: true, ..put });
    let batch = |mode, key: Option<&str>| BatchRequest {
        mode,
        ops: vec![BatchOperation::ApplyEvent(ApplyEventRequest::new("a", "E"))],
        idempotency_key: key.map(Into::into),
    };
    refused(&mut both, &batch(BatchMode::Atomic, None));
    refused(&mut both, &batch(BatchMode::BestEffort, Some("k")));

    let (client, peer) = &mut both;
    let lifecycle = WatchAllRequest { include_lifecycle: true, ..WatchAllRequest::default() };
    let replay = WatchAllRequest { from_offset: Some(1), ..WatchAllRequest::default() };
    for request in [lifecycle, replay] {
        let error = client.watch(request).wait().map(drop).unwrap_err();
        assert_eq!(error.reason(), Some(reason::UNSUPPORTED));
    }
    // From the beginning of time means live, as everywhere.
    let live = WatchAllRequest { from_offset: Some(0), ..WatchAllRequest::default() };
    let watching = client.watch(live);
    let asked = peer.expect("WATCH_ALL");
    assert_eq!(asked.params.get("from_offset"), None);
    peer.ok(&asked, json!({"subscription_id": "s", "wal_offset": 1}));
    watching.wait().unwrap();
}
