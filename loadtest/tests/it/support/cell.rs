//! Demo cells under test.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{PATIENCE, bin_dir, process::Process};

/// A running demo cell, on a free port unless one is given, with data that is gone with it unless a
/// directory is given.
pub(crate) struct DemoCell {
    name: String,
    address: SocketAddr,
    data: PathBuf,
    _own_data: Option<TempDir>,
    process: Process,
}

/// How to start a demo cell.
pub(crate) struct Plan {
    name: String,
    version: Option<String>,
    listen: SocketAddr,
    data: Option<PathBuf>,
}

impl Plan {
    /// The version it claims to run.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Where it listens, for a cell that comes back to the same address.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Where its data lies, for a cell that outlives its process.
    pub(crate) fn data(mut self, directory: &Path) -> Self {
        self.data = Some(directory.to_owned());
        self
    }

    /// Starts the cell, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> DemoCell {
        let Self {
            name,
            version,
            listen,
            data,
        } = self;
        let (data, own_data) = match data {
            Some(data) => (data, None),
            None => {
                let own = TempDir::new().expect("the temporary directory can be written to");
                (own.path().to_owned(), Some(own))
            }
        };

        let mut command = Command::new(bin_dir().join("demo-cell"));
        command
            .args(["--name", &name, "--listen", &listen.to_string(), "--data"])
            .arg(&data);
        if let Some(version) = version {
            command.args(["--version", &version]);
        }
        let process = Process::start(format!("cell {name}"), &mut command);
        let ready = format!("demo-cell {name} listening on ");
        let address = process.wait_for_line("the ready line", PATIENCE, |line| {
            line.strip_prefix(&ready)?.parse().ok()
        });
        DemoCell {
            name,
            address,
            data,
            _own_data: own_data,
            process,
        }
    }
}

impl DemoCell {
    /// A cell of this name with the defaults.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Self {
        Self::plan(name).start()
    }

    pub(crate) fn plan(name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            version: None,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory of its data.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// To signal, kill or wait for it, and to read its output.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
