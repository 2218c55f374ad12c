//! What the core has to say while it works, handed to the program that embeds it.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use rstmdb::Result;
use rstmdb::error::reason;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Receives one message: its level, the part it comes from, and its text.
pub type Receiver = Arc<dyn Fn(Level, &str, &str) + Send + Sync>;

pub use tracing::Level as LogLevel;

static RECEIVER: ArcSwapOption<(Level, Receiver)> = ArcSwapOption::const_empty();

/// Sends messages of `level` and above to `receiver`; none when it is absent. It is called on the
/// thread that has something to say, so it must be quick and must not call back.
///
/// Errors: reason `unsupported` when the program collects `tracing` by itself.
pub fn set(level: Level, receiver: Option<Receiver>) -> Result<()> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    let install = || tracing::subscriber::set_global_default(Forwarder).is_ok();
    if !INSTALLED.get_or_init(install) {
        let message = "this program collects the messages of tracing itself already";
        return Err(rstmdb::Error::invalid(reason::UNSUPPORTED, message));
    }
    RECEIVER.store(receiver.map(|receiver| Arc::new((level, receiver))));
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

struct Forwarder;

impl Subscriber for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        RECEIVER.load().as_ref().is_some_and(|wanted| *metadata.level() <= wanted.0)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(wanted) = RECEIVER.load_full() else { return };
        let mut text = MessageText::default();
        event.record(&mut text);
        let metadata = event.metadata();
        (wanted.1)(*metadata.level(), metadata.target(), &(text.message + &text.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct MessageText {
    message: String,
    fields: String,
}

impl Visit for MessageText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
