//! `cellctl slots …`, `cellctl plan …` and `cellctl table …`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum SlotsCommand {
    /// Give the slots their first owners now; the daemon does so by itself once the first cells have settled.
    Spread,
}

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Carry out what the plan would move. It is made anew, from what stands then.
    Apply {
        /// More may move in one table than the limits allow.
        #[arg(long)]
        allow_move: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Show the table in force, whether it says all that is intended, and if not, what is in the way.
    Show {
        /// Print the kept table of this generation instead, as `get` does.
        generation: Option<u64>,
    },
    /// List the tables that are kept, the newest first.
    List,
    /// Print a kept table as the file it was.
    Get { generation: u64 },
    /// Show what changed for tenants from one kept table to another.
    #[command(after_help = "Examples:\n  \
            cellctl table diff             from the table before to the one in force\n  \
            cellctl table diff 40          from generation 40 to the one in force\n  \
            cellctl table diff 40 42       from generation 40 to 42")]
    Diff {
        /// Generation of the older one. Default: the one before the newer one.
        from: Option<u64>,
        /// Generation of the newer one. Default: the one in force.
        to: Option<u64>,
    },
    /// Publish a table that is blocked, with explicit permission.
    ///
    /// `cellctl table show` says what is in the way.
    Publish {
        /// It may move more than the limits allow.
        #[arg(long)]
        allow_move: bool,
        /// It may take the place of a table that somebody else wrote.
        #[arg(long)]
        overwrite: bool,
    },
    /// Restore the map of an older table, as a new generation.
    ///
    /// Slots and tenants go where they were then; tenants registered since stay where they are. Their data does not move.
    Rollback {
        /// One of `cellctl table list`.
        generation: u64,
        /// More may move in one table than the limits allow.
        #[arg(long)]
        allow_move: bool,
    },
}
