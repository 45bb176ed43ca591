//! The life of the proxy: read the command line, read the configuration, serve until told to stop.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use cellgate_proxy::{
    cli::{self, Cli},
    config::{self, Config},
    run,
};
use cellgate_table::yaml::settings::LogFormat;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use tikv_jemallocator::Jemalloc;
use tracing_subscriber::{EnvFilter, fmt};

/// Long-lived processes with many threads fragment the system's allocator.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        return cli::run(command, cli.config.as_deref());
    }
    let Some(path) = cli.config else {
        let message = "--config FILE is needed to serve";
        Cli::command()
            .error(ErrorKind::MissingRequiredArgument, message)
            .exit();
    };
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(problems) => {
            // With standard error closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{problems}");
            return ExitCode::FAILURE;
        }
    };
    start_log(&config);
    run::serve(config)
}

/// Logs go to standard error; `RUST_LOG` changes how much. Pingora's own account of its start and stop is left out.
fn start_log(config: &Config) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,pingora_core=warn,pingora_proxy=warn"));
    let log = fmt()
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .with_target(false);
    match config.log_format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
    }
}
