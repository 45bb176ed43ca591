//! The life of `cellctl`: read the command line, ask the daemon, print what it says or why it does not.

use std::process::ExitCode;

use cellgate_control::ctl::{self, Cli, Failure};
use tokio::runtime;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    let done = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::NoRuntime)
        .and_then(|runtime| runtime.block_on(ctl::run(cli)));
    done.unwrap_or_else(|failure| {
        failure.report();
        failure.exit_code()
    })
}
