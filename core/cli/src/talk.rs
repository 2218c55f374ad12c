//! Where a long command talks: lines on standard error, around the progress bar.

use std::time::Instant;

use indicatif::ProgressBar;

use crate::error::message_lines;
use crate::output::{self, Format, Output, number, rate};

/// The lines and the bar of one command.
#[derive(Debug)]
pub(crate) struct Talk {
    output: Output,
    bar: ProgressBar,
    began: Instant,
}

impl Talk {
    pub(crate) fn new(output: Output, bar: ProgressBar) -> Talk {
        Talk { output, bar, began: Instant::now() }
    }

    /// Says something about one of many things: what it is about and a message, or JSON.
    pub(crate) fn row(
        &self,
        text: impl FnOnce() -> (String, String),
        json: impl FnOnce() -> serde_json::Value,
    ) {
        self.bar.suspend(|| match self.output.format {
            Format::Table => {
                let (about, message) = text();
                message_lines(&about, &message).iter().for_each(|line| output::say(line));
            }
            Format::Json => output::say_json(&json()),
        });
    }

    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| self.output.note(text));
    }

    /// Moves the bar, and shows how many `things` are done.
    pub(crate) fn progress(&self, position: u64, done: u64, things: &str) {
        if self.bar.is_hidden() {
            return;
        }
        let rate = rate(done, self.began.elapsed().as_secs_f64());
        self.bar.set_message(format!("{} {things}, {}/s", number(done), number(rate)));
        self.bar.set_position(position);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
