//! The power fails in the middle of a stream of changes. What was acknowledged is on disk, and so is a whole table.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::home::{Cells, Home, tenant, wait_until_current};
use crate::support::{
    PATIENCE,
    control::Control,
    heavy::{amount, figure, skip},
    mount::{Kind, Mount},
    wait_until,
};

/// Who asks for changes at the same time.
const WRITERS: usize = 3;
/// The cut comes after fewer changes than this,
const CHANGES_MAX: usize = 40;
/// and within so many microseconds more.
const PAUSE_US_MAX: u64 = 30_000;
/// Where writers end if no cut ends them.
const CHANGES_LIMIT: usize = 2_000;

#[test]
fn ext4_keeps_what_was_acknowledged() {
    check_power_cuts(Kind::Ext4);
}

#[test]
fn xfs_keeps_what_was_acknowledged() {
    check_power_cuts(Kind::Xfs);
}

#[track_caller]
fn check_power_cuts(kind: Kind) {
    let cuts = amount("CELLGATE_POWER_CUTS", 3);
    let seed = amount("CELLGATE_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let scratch = tempfile::tempdir().expect("the temporary directory can be written to");
    let mount = match Mount::of_image(&scratch.path().join("disk"), kind) {
        Ok(mount) => mount,
        Err(why) => return skip(why),
    };
    let cells = Cells::start();
    let home = Home::furnished(&mount.folder().join("home"), &cells);
    let mut acknowledged = Vec::new();
    let mut behind = 0;
    for cut in 0..cuts {
        let mut control = home.plan().start();
        wait_until_current(&control).expect("the daemon runs");
        let moment = Moment {
            changes: random.usize(1..CHANGES_MAX),
            pause: Duration::from_micros(random.u64(..PAUSE_US_MAX)),
        };
        let written = write_until_cut(&control, cut, &moment, &mount);
        control.kill();
        acknowledged.extend(match written {
            Ok(written) => written,
            Err(why) => return skip(why),
        });
        mount
            .power_up()
            .unwrap_or_else(|error| panic!("cut {cut} with seed {seed}: {error}"));
        let found = home.bytes().expect("a table was published");
        let after = home.recover(Some(&found), &cells, &acknowledged);
        behind += usize::from(found != after);
    }
    figure(format!(
        "{}: {cuts} power cuts with seed {seed}, the table whole each time ({behind} times behind the changes), 0 of {} \
         acknowledged changes lost",
        kind.name(),
        acknowledged.len()
    ));
}

/// When the power is cut: after so many changes, and a bit.
struct Moment {
    changes: usize,
    pause: Duration,
}

/// Registers tenants until the power is cut; returns those that were acknowledged before.
///
/// What is answered while it is cut does not count. Nobody hears from a machine without power; but here it goes on, and
/// ext4 lets a sync succeed that it meets on its way down, though nothing comes to disk any more (seen with Linux 6.18).
fn write_until_cut(
    control: &Control,
    cut: usize,
    moment: &Moment,
    mount: &Mount,
) -> Result<Vec<String>, String> {
    let acknowledged = Mutex::new(Vec::new());
    let lock = || acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CHANGES_LIMIT {
                        return;
                    }
                    let key = format!("cut-{cut:03}-{number:05}");
                    let answer = control.ask("POST", "/v1/tenants", &tenant(&key));
                    if !answer.is_ok_and(|answer| answer.status == 200) {
                        return;
                    }
                    lock().push(key);
                }
            });
        }
        wait_until("changes are acknowledged", PATIENCE, || {
            lock().len() >= moment.changes
        });
        thread::sleep(moment.pause);
        let before = lock().clone();
        mount.cut_power().map(|()| before)
    })
}
