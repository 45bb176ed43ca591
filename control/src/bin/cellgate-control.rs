//! The life of the daemon: read the command line, read the configuration, serve until asked to stop.

use std::process::ExitCode;

use cellgate_control::{
    cli::{self, Cli},
    config, metrics, run,
    signals::Signals,
};
use cellgate_process::log;
use cellgate_table::yaml::settings::LogFormat;
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

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
    // Before anything that takes time: without handlers SIGHUP would end the process.
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
    let format = match config.log_format {
        LogFormat::Json => log::Format::Json,
        LogFormat::Text => log::Format::Text,
    };
    let log = log::start(metrics::NAMESPACE, format, "info");
    run::serve(config, cli.take_over, signals, log.counts())
}
