//! The life of the daemon: read the command line, read the configuration, serve until told to stop.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use cellgate_control::{
    cli::{self, Cli},
    config, run,
};
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
    match config::load(&path) {
        Ok(config) => run::serve(config, cli.take_over),
        Err(problems) => {
            // With standard error closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{problems}");
            ExitCode::FAILURE
        }
    }
}
