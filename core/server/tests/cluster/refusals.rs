//! Nodes that are not taken in, and settings that can't work.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rstmdb_testkit::process::Launch;
use rstmdb_testkit::wire::await_condition;

use serde_json::json;

use super::group::{Group, Member, begin, event};

/// How a start ended that was refused.
fn refused(launch: &Launch) -> String {
    let (status, log) = launch.try_start().expect_err("it started");
    assert!(!status.success(), "{log:#?}");
    log.join("\n")
}

/// Waits for a member to say why it does not belong to the group.
fn await_reason(member: &Member, wanted: &str) {
    await_condition(wanted, || {
        member.obstacle().is_some_and(|said| said.replace("\\\"", "\"").contains(wanted))
    });
}

#[test]
fn settings_that_can_not_work_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let member = || Member::new(folder.path(), 0);
    let cases = [
        (member(), "cluster.seeds is empty and cluster.bootstrap is false"),
        (
            member().set("cluster.bootstrap", true).set("storage.fsync_policy", "every_ms:5"),
            "storage.fsync_policy is every_ms:5",
        ),
        (
            member().set("cluster.bootstrap", true).set("cluster.tls_cert_path", "c.pem"),
            "cluster.tls_key_path is not set",
        ),
        (
            member().set("cluster.bootstrap", true).set("cluster.election_min_ms", 60),
            "a follower must miss two heartbeats",
        ),
        (member().set("cluster.seeds", "nowhere"), "use host:port"),
        (
            member().set("cluster.bootstrap", true).set("cluster.bind_addr", "0.0.0.0:0"),
            "set cluster.advertise",
        ),
    ];
    for (member, wanted) in cases {
        let said = refused(member.launch());
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn directories_stay_with_their_group() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Member::alone(folder.path());
    alone.stop();
    let member = Member::new(folder.path(), 0);
    let said = refused(member.set("cluster.seeds", "127.0.0.1:1").launch());
    assert!(
        said.contains("holds a database that belongs to no group: set cluster.bootstrap"),
        "{said}"
    );
    let group = Group::with(folder, 1, |launch| launch);
    group.leader();
    let directory = group.members[0].directory.clone();
    let folder = group.end();
    let other = Member::new(folder.path(), 0).set("cluster.bootstrap", true);
    let said = refused(other.set("cluster.name", "other").launch());
    assert!(
        said.contains("belongs to the group \"shop\", and cluster.name is \"other\""),
        "{said}"
    );
    // Whoever is alone does not write there.
    let said = refused(&Launch::new(env!("CARGO_BIN_EXE_rstmdb"), &directory));
    assert!(said.contains("a member of a group"), "{said}");
}

#[test]
fn a_foreign_node_and_a_wiped_one_are_not_taken_in() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    event(&database, 1);
    // Of another group.
    group.add(|launch| launch.set("cluster.name", "other"));
    await_reason(&group.members[3], "belongs to the group \"shop\"");
    await_condition("it is counted", || {
        group.members[0].process().metric("rstmdb_peer_connections_refused_total") > 0.0
    });
    group.kill(3);
    // The directory is gone, and the address is that of a node that was another one.
    let leader = group.leader();
    let wiped = (0..3).find(|place| *place != leader && *place != 0).unwrap();
    group.kill(wiped);
    std::fs::remove_dir_all(&group.members[wiped].directory).unwrap();
    group.start(wiped);
    await_reason(&group.members[wiped], "its directory was replaced or wiped. Remove it");
    // The others go on.
    event(&database, 2);
    assert_eq!(group.nodes().len(), 3);
    // What the message says is done, and the node joins as another one.
    let told = group.members[leader].ask("CLUSTER_STATUS", json!({})).unwrap();
    let listed = told["members"].as_array().unwrap();
    let gone = listed.iter().find(|of| of["peer_address"] == *group.members[wiped].peers).unwrap();
    let gone = gone["node"].as_u64().unwrap();
    let remove = |place: usize, force: bool| {
        group.members[place].ask("CLUSTER_REMOVE", json!({"node": gone, "force": force}))
    };
    let other = (0..3).find(|place| *place != leader && *place != wiped).unwrap();
    let error = remove(other, false).unwrap_err();
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("this node does not lead: ask "), "{said}");
    let error = remove(leader, false).unwrap_err();
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("2 voters stand no more failures than 1"), "{said}");
    remove(leader, true).unwrap();
    group.await_voters(3);
    group.await_same(2);
    let ids: Vec<u64> = group.nodes().iter().map(|node| node["id"].as_u64().unwrap()).collect();
    assert!(ids.contains(&4) && !ids.contains(&gone), "{ids:?}");
    let lead =
        |to: serde_json::Value| group.members[leader].ask("CLUSTER_TRANSFER", json!({"to": to}));
    let error = lead(json!("nobody")).unwrap_err();
    assert_eq!(error["code"], "BAD_REQUEST", "{error}");
    lead(json!(4)).unwrap();
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn members_prove_themselves_by_certificates() {
    let files = tempfile::tempdir().unwrap();
    let put = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (authority(), authority());
    let ca = put("ca.pem", ours.pem());
    let leaf = |authority: &Authority, name: &str, host: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&key, authority).unwrap();
        (
            put(&format!("{name}.pem"), signed.pem()),
            put(&format!("{name}.key"), key.serialize_pem()),
        )
    };
    let proven = |member: Member, authority: &Authority, name: &str| {
        let host = member.peers.rsplit_once(':').unwrap().0.to_owned();
        let (cert, key) = leaf(authority, name, &host);
        member
            .set("cluster.tls_cert_path", cert)
            .set("cluster.tls_key_path", key)
            .set("cluster.tls_ca_path", &ca)
    };
    let mut group = Group::of(0, |launch| launch);
    for place in 0..3 {
        let member = proven(group.next(), &ours, &format!("node{place}"));
        group.add_member(if place == 0 { member.set("cluster.bootstrap", true) } else { member });
    }
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    event(&database, 1);
    group.await_same(1);
    // One that has a certificate of somebody else, and one that has none.
    let forged = proven(group.next(), &theirs, "forged");
    group.add_member(forged);
    let plain = group.next();
    group.add_member(plain);
    for place in 3..5 {
        await_reason(&group.members[place], "no node of cluster.seeds belongs to a group yet");
    }
    event(&database, 2);
    assert_eq!(group.nodes().len(), 3);
    // One of the group's authority, for another machine: what it calls itself is not what it proves.
    let (cert, key) = leaf(&ours, "elsewhere", "127.1.1.1");
    let elsewhere = group.next();
    let host = elsewhere.peers.rsplit_once(':').unwrap().0.to_owned();
    let elsewhere = elsewhere
        .set("cluster.tls_cert_path", cert)
        .set("cluster.tls_key_path", key)
        .set("cluster.tls_ca_path", &ca);
    group.add_member(elsewhere);
    await_reason(&group.members[5], &format!("is not for {host}, where the node says that it is"));
    for place in 3..6 {
        group.kill(place);
    }
    // An expired one says so, on both sides, and is renewed without a restart.
    let place = (0..3).find(|place| *place != group.leader()).unwrap();
    let host = group.members[place].peers.rsplit_once(':').unwrap().0.to_owned();
    let (cert, key) = (format!("node{place}.pem"), format!("node{place}.key"));
    let good = [&cert, &key].map(|name| std::fs::read_to_string(files.path().join(name)).unwrap());
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    group.stop(place);
    put(&cert, params.signed_by(&own, &ours).unwrap().pem());
    put(&key, own.serialize_pem());
    group.start(place);
    await_reason(&group.members[place], "certificate has expired: renew it");
    event(&database, 3);
    put(&key, good[1].clone());
    put(&cert, good[0].clone());
    await_condition("it is renewed", || group.members[place].obstacle().is_none());
    group.await_same(3);
    let log = group.stop(place);
    let says = |what: &str| log.iter().any(|line| line.contains(what));
    assert!(says("has expired, on 2020-01-01"), "{log:#?}");
    assert!(says("were read again"), "{log:#?}");
}

#[test]
fn a_member_whose_directory_is_an_older_copy_is_refused() {
    let mut group = Group::of(3, |launch| launch);
    group.await_voters(3);
    let database = group.open("");
    begin(&database);
    event(&database, 1);
    group.await_same(1);
    let leader = group.leader();
    let place = (0..3).find(|place| *place != leader && *place != 0).unwrap();
    group.stop(place);
    let directory = group.members[place].directory.clone();
    let image = directory.with_extension("image");
    copy(&directory, &image);
    group.start(place);
    for number in 2..20 {
        event(&database, number);
    }
    // What counts is what the leader has heard of.
    for number in 20..=21 {
        event(&database, number);
        await_condition("the leader hears that all have it", || {
            let status = group.members[leader].ask("REPLICATION_STATUS", json!({})).unwrap();
            let replicas = status["replicas"].as_array().unwrap();
            replicas.len() == 2 && replicas.iter().all(|replica| replica["lag_entries"] == 0)
        });
    }
    group.kill(place);
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::rename(&image, &directory).unwrap();
    group.start(place);
    await_reason(&group.members[place], "its directory is an older copy of itself");
    event(&database, 22);
    // What the sentence says is done.
    let reason = group.members[place].obstacle().unwrap();
    let node = reason.split("Remove node ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    group.kill(place);
    let node: u64 = node.parse().unwrap();
    let gone = json!({"node": node, "force": true});
    group.members[leader].ask("CLUSTER_REMOVE", gone).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    group.start(place);
    group.await_voters(3);
    group.await_same(22);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}
