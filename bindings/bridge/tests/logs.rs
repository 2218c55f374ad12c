//! A program that collects messages itself.
#![allow(clippy::unwrap_used)]

use rstmdb_bridge::log::{LogLevel, set};

struct Other;

impl tracing::Subscriber for Other {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::Id) {}
    fn exit(&self, _: &tracing::Id) {}
}

#[test]
fn messages_that_go_elsewhere_are_refused_each_time() {
    tracing::subscriber::set_global_default(Other).unwrap();
    for _ in 0..2 {
        assert_eq!(set(LogLevel::INFO, None).unwrap_err().reason(), Some("unsupported"));
    }
}
