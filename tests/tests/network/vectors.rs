//! The golden vectors of RCP, recorded from the published server: ours answers alike, in every form.

use rstmdb_testkit::server::TestServer;
use rstmdb_tests::vectors::{Form, exchanges, frames};

#[test]
fn every_exchange_is_answered_as_recorded() {
    let server = TestServer::in_memory(|_| ());
    // Twice on one server: a replay leaves nothing behind that the next one stumbles over.
    assert_eq!(exchanges(server.address(), Form::Frames, "one"), 82);
    assert_eq!(exchanges(server.address(), Form::Frames, "two"), 82);
    server.await_idle();
}

#[test]
fn every_exchange_is_answered_as_recorded_in_lines() {
    let server = TestServer::in_memory(|_| ());
    assert_eq!(exchanges(server.address(), Form::Lines, "one"), 82);
    assert_eq!(exchanges(server.address(), Form::FramesForLines, "two"), 82);
    server.await_idle();
}

#[test]
fn every_recorded_frame_is_met_as_recorded() {
    let server = TestServer::in_memory(|_| ());
    assert_eq!(frames(server.address()), 20);
    server.await_idle();
}
