//! What happens when this process is asked to end.

use anyhow::Context;

/// Has `end` called, on a thread of its own, when this process is interrupted or asked to end; it
/// must do so.
///
/// # Errors
///
/// A failure of the system.
///
/// # Portability
///
/// On Unix the signals are `SIGINT`, `SIGTERM` and `SIGHUP`. Where one of them is ignored, as under
/// `nohup` and for what a script runs in the background, all stay as they are: whoever started this
/// process wants it to go on.
pub fn on_interrupt(end: impl FnMut() + Send + 'static) -> anyhow::Result<()> {
    match ctrlc::try_set_handler(end) {
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        set => set.context("cannot listen for interrupts"),
    }
}
