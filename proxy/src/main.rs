//! The life of the proxy: read the command line, read the configuration, serve until a signal ends it.

use std::process::ExitCode;

use cellgate_process::log::{self, Log};
use cellgate_proxy::{
    cli::{self, Cli},
    config::{self, Config},
    listen::Activation,
    metrics,
    run::{self, Launch},
    signals::Signals,
};
use cellgate_table::yaml::settings::LogFormat;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use tikv_jemallocator::Jemalloc;

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
    // Before there are threads, for it changes the environment.
    let activation = match Activation::from_env() {
        Ok(activation) => activation,
        Err(message) => {
            log::last_words(message);
            return ExitCode::FAILURE;
        }
    };
    // Before anything that takes time: without handlers, a signal for the housekeeping would end the process.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            log::last_words(format!("signals cannot be handled: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(problems) => {
            log::last_words(problems.to_string());
            return ExitCode::FAILURE;
        }
    };
    let log = start_log(&config);
    let launch = Launch {
        is_upgrade: cli.upgrade,
        activation,
    };
    run::serve(config, launch, signals, log.counts())
}

/// Pingora's own account of its start and stop is left out.
fn start_log(config: &Config) -> Log {
    let format = match config.log_format {
        LogFormat::Json => log::Format::Json,
        LogFormat::Text => log::Format::Text,
    };
    let filter = "info,pingora_core=warn,pingora_proxy=warn";
    log::start(metrics::NAMESPACE, format, filter)
}
