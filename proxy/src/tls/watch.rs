//! Looks at the certificates' files as long as the process lives. Listeners wait for none of the others' disks.

use std::sync::Arc;

use async_trait::async_trait;
use cellgate_process::restart;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::terminator::Terminator;

/// See the module's documentation.
#[derive(Debug)]
pub struct CertificateWatch {
    pub terminators: Arc<[Arc<Terminator>]>,
}

#[async_trait]
impl BackgroundService for CertificateWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut watching = JoinSet::new();
        for terminator in &*self.terminators {
            let terminator = Arc::clone(terminator);
            watching.spawn(async move {
                let watch = || watch(Arc::clone(&terminator));
                restart::until_done("certificates", |_| {}, watch).await;
            });
        }
        // A drain is short, and certificates in force then are good enough.
        let _ = shutdown.wait_for(|stop| *stop).await;
    }
}

async fn watch(terminator: Arc<Terminator>) {
    loop {
        let polled = Arc::clone(&terminator);
        let pause = spawn_blocking(move || polled.poll_files()).await;
        // A panic there is one here, and is met by whoever started this.
        sleep(pause.expect("nobody aborts it")).await;
    }
}
