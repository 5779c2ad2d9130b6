//! Ending a program: Ctrl-C, and exit codes.

use std::process::ExitCode;

use tokio::sync::watch;

/// Whether the program has been asked to end. Copies hear of the same request.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for SIGINT (Ctrl-C) and SIGTERM from now on. The first asks the program to end; the second
    /// ends it at once, with exit code 130. To be called once, in a runtime.
    #[must_use]
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            request().await;
            sender.send_replace(true);
            request().await;
            std::process::exit(130);
        });
        Self(receiver)
    }

    /// Ready when the program has been asked to end.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // The sender lives as long as the program.
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// Whether the program has been asked to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

#[cfg(unix)]
async fn request() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn request() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The exit code of a program that ended like this; what went wrong goes to standard error.
#[must_use]
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
