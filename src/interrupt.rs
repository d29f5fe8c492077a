//! Ctrl-C and its relatives: the first asks the build to stop and clean up, the second ends the
//! program at once. Whatever is left then is swept by the next run.

use std::io;
use std::time::Duration;

use engine::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::EXIT_INTERRUPTED;

/// Signals so soon after the first are the same one: who signals a whole group (`timeout`, a CI
/// agent) reaches this process and the one outside of its user namespace, which passes it on.
const ECHO: Duration = Duration::from_millis(250);

/// Listens from now on, on a thread of its own. Signals that whoever started this program had
/// ignored (`nohup`, a shell's background jobs) stay ignored.
pub(crate) fn listen(interrupt: Interrupt) -> io::Result<()> {
    let ignored = ignored_signals();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let guard = runtime.enter();
    let register = |kind: SignalKind| -> io::Result<Option<Signal>> {
        let bit = 1_u64 << (kind.as_raw_value() - 1);
        if ignored & bit == 0 {
            signal(kind).map(Some)
        } else {
            Ok(None)
        }
    };
    let mut keyboard = register(SignalKind::interrupt())?;
    let mut terminate = register(SignalKind::terminate())?;
    let mut hangup = register(SignalKind::hangup())?;
    drop(guard);
    let listen = async move {
        let mut next = async || {
            tokio::select! {
                () = received(&mut keyboard) => {}
                () = received(&mut terminate) => {}
                () = received(&mut hangup) => {}
            }
        };
        next().await;
        interrupt.trigger();
        let echoes = async {
            loop {
                next().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(ECHO, echoes).await;
        next().await;
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(listen))?;
    Ok(())
}

/// Waits for a signal; for ever when it is ignored.
async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The mask of signals that are ignored (proc_pid_status(5)); none where /proc does not say.
fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| mask(&status))
        .unwrap_or(0)
}

fn mask(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn the_mask_is_read_from_the_status() {
        assert_eq!(
            mask("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t1\n"),
            Some(0x1001)
        );
        assert_eq!(mask("Name:\tx\n"), None);
    }
}
