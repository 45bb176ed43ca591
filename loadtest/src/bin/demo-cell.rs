//! One cell of an imaginary service, to put behind the proxy.

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
};

use anyhow::Context;
use cellgate_loadtest::demo_cell::{
    self, Args, Cell, CellName, Store,
    limits::{DATABASE_THREADS_MAX, OPEN_DATABASES_MAX},
};
use clap::Parser;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let runtime = runtime::Builder::new_multi_thread()
        .max_blocking_threads(DATABASE_THREADS_MAX)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    // Before the ready line: whoever reads it may signal immediately.
    let stop = stop_signal().context("cannot handle signals")?;

    let store = Store::open(&args.data, OPEN_DATABASES_MAX)
        .with_context(|| format!("cannot use the data directory {}", args.data.display()))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    announce(&args.name, listener.local_addr()?).context("cannot write to standard output")?;

    let cell = Cell::new(args.name, args.version, store);
    demo_cell::serve(listener, cell, stop)
        .await
        .context("the listener failed")
}

/// Ready at the first SIGTERM or SIGINT. The handlers are in place when this returns.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Says where the cell listens, on one line that programs read.
fn announce(name: &CellName, address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "demo-cell {name} listening on {address}")?;
    stdout.flush()
}
