//! Progress bars on standard error, only when a person watches it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rstmdb::{ProgressObserver, ProgressUpdate};

use crate::output::is_watched;

const RECOVERY: &str = "{msg} {bar:30} {bytes}/{total_bytes}, {eta} left";
const IMPORT: &str = "{bar:30} {percent:>3}%  {msg}, {eta} left";

/// A bar over the bytes or the things of an import; hidden unless a person watches.
pub(crate) fn of_import(total: u64) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total).with_style(style(IMPORT));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// What shows the progress of a long recovery; None when nobody watches.
pub(crate) fn of_recovery() -> Option<ProgressObserver> {
    if !is_watched() {
        return None;
    }
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    let show = move |update: ProgressUpdate| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        if update.done_bytes >= update.total_bytes {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = bar.get_or_insert_with(|| ProgressBar::no_length().with_style(style(RECOVERY)));
        bar.set_message(update.stage);
        bar.set_length(update.total_bytes);
        bar.set_position(update.done_bytes);
    };
    Some(ProgressObserver(Arc::new(show)))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
