//! Completions and manual pages, out of the definition of the command line.

use std::{fs, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{args::Cli, failure::Failure, output::print_bytes};

pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cellctl", &mut script);
    print_bytes(&script)
}

/// Prints the page, or writes one for each command into a directory.
pub fn pages(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(Failure::Output)?;
        return print_bytes(&page);
    };
    let written =
        fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| Failure::File {
        path: dir.to_owned(),
        error: error.to_string(),
    })
}
