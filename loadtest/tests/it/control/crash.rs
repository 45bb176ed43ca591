//! `kill -9` of the daemon at every step of a publish: the table is the old one or the new one, whole, and what was
//! acknowledged is there.

mod sweep;

use std::{fs, io, os::unix::process::ExitStatusExt as _, path::PathBuf, process::ExitStatus};

use super::home::{self, Cells, Home, tenant, wait_until_current};
use crate::support::{
    PATIENCE,
    control::Control,
    heavy::{amount, figure, skip},
    process::Signal,
    strace::{self, Strace},
    wait_until,
    wire::Answer,
};

/// Writes of this number to SQLite's log are those of a table: no other change has so many.
const MANY: &str = "when=40";

/// A place in a publish, and what has to be found after a kill there.
struct Step {
    name: &'static str,
    kill: Kill,
    found: Option<Found>,
}

enum Kill {
    /// By the test, as soon as the change is acknowledged.
    Acknowledged,
    /// By the system, instead of this call about this file.
    Instead {
        call: &'static str,
        when: &'static str,
        about: fn(&Home) -> PathBuf,
    },
    /// By the test, while this call about this file comes back.
    After {
        call: &'static str,
        about: fn(&Home) -> PathBuf,
    },
    /// By the test, as soon as the daemon reports that the table is current.
    Current,
}

/// What a kill leaves, which shows where it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    table: Standing,
    leftover: Leftover,
    record: Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Old,
    New,
}

/// What lies beside the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    Nothing,
    Empty,
    Whole,
}

/// What the database knows of the new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Nothing,
    Writing,
    Published,
}

const STEPS: [Step; 9] = [
    Step {
        name: "change acknowledged",
        kill: Kill::Acknowledged,
        found: None,
    },
    Step {
        name: "table half recorded",
        kill: Kill::Instead {
            call: "pwrite64",
            when: MANY,
            about: Home::wal,
        },
        found: Some(Found {
            table: Standing::Old,
            leftover: Leftover::Nothing,
            record: Record::Nothing,
        }),
    },
    Step {
        name: "table recorded",
        kill: Kill::Instead {
            call: "openat",
            when: "when=1",
            about: Home::temporary,
        },
        found: Some(Found {
            table: Standing::Old,
            leftover: Leftover::Nothing,
            record: Record::Writing,
        }),
    },
    Step {
        name: "temporary file made",
        kill: Kill::Instead {
            call: "write",
            when: "when=1",
            about: Home::temporary,
        },
        found: Some(Found {
            table: Standing::Old,
            leftover: Leftover::Empty,
            record: Record::Writing,
        }),
    },
    Step {
        name: "temporary file written",
        kill: Kill::Instead {
            call: "fsync",
            when: "when=1",
            about: Home::temporary,
        },
        found: Some(Found {
            table: Standing::Old,
            leftover: Leftover::Whole,
            record: Record::Writing,
        }),
    },
    Step {
        name: "temporary file synced",
        kill: Kill::Instead {
            call: "/^rename",
            when: "when=1",
            about: Home::temporary,
        },
        found: Some(Found {
            table: Standing::Old,
            leftover: Leftover::Whole,
            record: Record::Writing,
        }),
    },
    Step {
        name: "renamed",
        kill: Kill::Instead {
            call: "fsync",
            when: "when=1",
            about: Home::table_folder,
        },
        found: Some(Found {
            table: Standing::New,
            leftover: Leftover::Nothing,
            record: Record::Writing,
        }),
    },
    Step {
        name: "folder synced",
        kill: Kill::After {
            call: "fsync",
            about: Home::table_folder,
        },
        found: Some(Found {
            table: Standing::New,
            leftover: Leftover::Nothing,
            record: Record::Writing,
        }),
    },
    Step {
        name: "recorded as published",
        kill: Kill::Current,
        found: Some(Found {
            table: Standing::New,
            leftover: Leftover::Nothing,
            record: Record::Published,
        }),
    },
];

#[test]
fn a_kill_at_any_step_leaves_the_old_table_or_the_new_one() {
    if let Some(why) = strace::is_missing() {
        return skip(why);
    }
    let kills = amount("CELLGATE_CRASHES", 3);
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let cells = Cells::start();
    let furnished = Home::furnished(&scratch.path().join("furnished"), &cells);
    for (number, step) in STEPS.iter().enumerate() {
        let mut new = 0;
        for kill in 0..kills {
            let folder = scratch.path().join(format!("{number}-{kill}"));
            let home = furnished.copy_to(&folder);
            if step.strike(&home, &cells) == Standing::New {
                new += 1;
            }
            fs::remove_dir_all(folder).expect("the scratch directory is ours");
        }
        figure(format!(
            "{}: {kills} kills, {} times the old table, {new} times the new one, 0 torn, 0 acknowledged changes lost",
            step.name,
            kills - new
        ));
    }
}

impl Step {
    /// Makes a change, kills the daemon in the publish that follows, and starts it again.
    #[track_caller]
    fn strike(&self, home: &Home, cells: &Cells) -> Standing {
        let name = self.name;
        let before = home.bytes().expect("a table was published");
        let strace = self.kill.strace(home);
        let plan = home.plan();
        let mut control = match &strace {
            Some(strace) => plan.under(&strace.words()).start(),
            None => plan.start(),
        };
        let newest = "newest".to_owned();
        let answer = control.ask("POST", "/v1/tenants", &tenant(&newest));
        self.kill.carry_out(&mut control, strace.as_ref(), &answer);

        let table = home.bytes().expect("a table was published");
        let leftovers = home.leftovers();
        let record = match home.newest_record() {
            (generation, _) if generation == home::generation(&before) => Record::Nothing,
            (_, state) if state == "writing" => Record::Writing,
            _ => Record::Published,
        };
        // The change was stored before the publish began, whether or not its answer came through.
        let after = home.recover(Some(&table), cells, &[newest]);
        assert!(
            table == before || table == after,
            "{name}: neither the old table nor the new one"
        );
        let found = Found {
            table: if table == before {
                Standing::Old
            } else {
                Standing::New
            },
            leftover: match leftovers.as_slice() {
                [] => Leftover::Nothing,
                [bytes] if bytes.is_empty() => Leftover::Empty,
                [bytes] if *bytes == after => Leftover::Whole,
                other => panic!("{name}: {} leftovers", other.len()),
            },
            record,
        };
        if let Some(expected) = self.found {
            assert_eq!(found, expected, "{name}: it was killed elsewhere");
        }
        found.table
    }
}

impl Kill {
    fn strace(&self, home: &Home) -> Option<Strace> {
        let (call, about, what) = match self {
            Self::Acknowledged | Self::Current => return None,
            Self::Instead { call, when, about } => (call, about, format!("signal=SIGKILL:{when}")),
            // Longer than the test needs to see it. The process lingers as long.
            Self::After { call, about } => (call, about, "delay_exit=1s".to_owned()),
        };
        let strace = Strace::new(&home.strace_log(), call).about(&about(home));
        Some(strace.inject(call, &what))
    }

    /// Sees to it that the daemon is killed where it should be.
    #[track_caller]
    fn carry_out(
        &self,
        control: &mut Control,
        strace: Option<&Strace>,
        answer: &io::Result<Answer>,
    ) {
        match self {
            Self::Acknowledged => {
                let answer = answer.as_ref().expect("the daemon runs");
                assert_eq!(answer.status, 200, "{}", answer.text());
                control.kill();
            }
            Self::Instead { .. } => check_killed(control.wait(PATIENCE)),
            Self::After { .. } => {
                let strace = strace.expect("such a step is traced");
                let is_back = |call: &strace::Call| call.rest.contains("(DELAYED)");
                wait_until("the call comes back", PATIENCE, || {
                    strace.calls().iter().any(is_back)
                });
                control.kill();
            }
            Self::Current => {
                wait_until_current(control).expect("the daemon runs");
                control.kill();
            }
        }
    }
}

#[track_caller]
fn check_killed(status: ExitStatus) {
    let kill = Signal::KILL.as_raw();
    assert_eq!(
        status.signal(),
        Some(kill),
        "it should have been killed: {status}"
    );
}
