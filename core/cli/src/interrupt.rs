//! Ctrl-C as a flag that long commands look at, so that they end cleanly.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static PRESSED: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Tells whether Ctrl-C was pressed since [`listen`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupt(());

/// Takes over Ctrl-C from now on; a second press ends the process at once.
///
/// The shell calls it before every command, so that one press ends what a command is doing and leaves
/// the shell.
pub(crate) fn listen() -> Interrupt {
    PRESSED.store(false, Ordering::SeqCst);
    INSTALLED.get_or_init(|| {
        // Without a handler Ctrl-C just ends the process, which is safe too.
        ctrlc::set_handler(|| {
            if PRESSED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .is_ok()
    });
    Interrupt(())
}

impl Interrupt {
    /// Whether Ctrl-C was pressed.
    pub(crate) fn pressed(self) -> bool {
        PRESSED.load(Ordering::SeqCst)
    }
}
