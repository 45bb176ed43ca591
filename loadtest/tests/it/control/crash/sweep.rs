//! `kill -9` of the daemon at any of its calls that change a file or make it last, at work as at the start.

use std::{collections::BTreeMap, fs, io};

use super::{
    super::home::{Cells, Home, tenant, wait_until_current},
    check_killed,
};
use crate::support::{
    PATIENCE,
    control::Control,
    heavy::{amount, figure, skip},
    strace::{self, Strace},
};

/// Calls that change a file or make it last, as strace has them.
const CALLS: &str = "openat,write,pwrite64,fsync,fdatasync,ftruncate,/^rename,/^unlink";
/// Where the life after a killed one is killed: at one of the first of these calls.
const SECOND_CALLS: [&str; 4] = ["pwrite64", "openat", "fsync", "/^unlink"];
const SECOND_NUMBER_MAX: usize = 12;

/// A place in a life: the n-th call of this name of any thread.
#[derive(Clone, Debug)]
struct Place {
    call: String,
    number: usize,
}

/// What a kill came to.
#[derive(Default)]
struct Tally {
    /// How many kills instead of which call.
    calls: BTreeMap<String, usize>,
    kills: usize,
    /// How many of them before the daemon could be asked.
    in_start: usize,
    acknowledged: usize,
}

/// The first run of a daemon, from an empty folder on: most of it is making the database.
#[test]
fn a_first_run_may_end_at_any_call() {
    let Some(sweep) = Sweep::new() else {
        return;
    };
    let rehearsed = Home::at(&sweep.scratch.path().join("rehearsal"));
    let strace = all_files(&rehearsed);
    sweep.live_traced(&rehearsed, &strace);
    let places = places(&strace);
    let mut tally = Tally::default();
    for (number, place) in sweep.pick(&places).iter().enumerate() {
        let folder = sweep.scratch.path().join(number.to_string());
        let home = Home::at(&folder);
        let life = sweep.live_traced(&home, &place.kill(all_files(&home)));
        tally.add(place, &life);
        home.recover(home.bytes().as_deref(), &sweep.cells, &life.acknowledged);
        fs::remove_dir_all(folder).expect("the scratch directory is ours");
    }
    tally.report("first run", places.len());
}

/// A daemon at work is killed, and the next one while it still finds out what the first one left.
#[test]
fn a_daemon_at_work_may_end_at_any_call() {
    let Some(mut sweep) = Sweep::new() else {
        return;
    };
    let furnished = Home::furnished(&sweep.scratch.path().join("furnished"), &sweep.cells);
    let rehearsed = furnished.copy_to(&sweep.scratch.path().join("rehearsal"));
    let strace = all_files(&rehearsed);
    if sweep.live_attached(&rehearsed, &strace).is_none() {
        return skip("strace may not be attached to a program that runs");
    }
    let places = places(&strace);
    let (mut tally, mut second_tally) = (Tally::default(), Tally::default());
    for (number, place) in sweep.pick(&places).iter().enumerate() {
        let folder = sweep.scratch.path().join(number.to_string());
        let home = furnished.copy_to(&folder);
        let strace = place.kill(all_files(&home));
        let Some(mut life) = sweep.live_attached(&home, &strace) else {
            return skip("strace may not be attached to a program that runs");
        };
        tally.add(place, &life);
        assert!(home.bytes().is_some(), "{place:?}: the table is gone");

        let second = Place {
            call: SECOND_CALLS[number % SECOND_CALLS.len()].to_owned(),
            number: sweep.random.usize(1..SECOND_NUMBER_MAX),
        };
        let second_life = sweep.live_traced(&home, &second.kill(all_files(&home)));
        second_tally.add(&second, &second_life);
        life.acknowledged.extend(second_life.acknowledged);
        let found = home.bytes();
        assert!(found.is_some(), "{place:?}, {second:?}: the table is gone");
        home.recover(found.as_deref(), &sweep.cells, &life.acknowledged);
        fs::remove_dir_all(folder).expect("the scratch directory is ours");
    }
    tally.report("at work", places.len());
    second_tally.report("the run after", SECOND_CALLS.len() * SECOND_NUMBER_MAX);
}

/// Kills lives at places all over.
struct Sweep {
    scratch: tempfile::TempDir,
    cells: Cells,
    kills: usize,
    random: fastrand::Rng,
}

/// A life that is over.
struct Life {
    acknowledged: Vec<String>,
    /// As it was meant to.
    is_killed: bool,
    has_listened: bool,
}

impl Sweep {
    /// `None` where there is no strace; that has been said then.
    #[track_caller]
    fn new() -> Option<Self> {
        if let Some(why) = strace::is_missing() {
            skip(why);
            return None;
        }
        Some(Self {
            scratch: tempfile::tempdir().expect("the temporary directory can be written to"),
            cells: Cells::start(),
            kills: amount("CELLGATE_KILLS", 8),
            random: fastrand::Rng::with_seed(amount("CELLGATE_SEED", 1)),
        })
    }

    /// As many places as there are to be kills, or all there are. Each kind of call has its turn.
    fn pick(&self, places: &[Place]) -> Vec<Place> {
        let mut shuffled = places.to_vec();
        self.random.clone().shuffle(&mut shuffled);
        let mut turns: BTreeMap<String, usize> = BTreeMap::new();
        let mut picked: Vec<(usize, Place)> = shuffled
            .into_iter()
            .map(|place| {
                let turn = turns.entry(place.call.clone()).or_default();
                *turn += 1;
                (*turn, place)
            })
            .collect();
        picked.sort_by_key(|(turn, _)| *turn);
        picked.truncate(self.kills);
        picked.into_iter().map(|(_, place)| place).collect()
    }

    /// A life that is traced from its first call on.
    #[track_caller]
    fn live_traced(&self, home: &Home, strace: &Strace) -> Life {
        match home.plan().under(&strace.words()).start_or_end() {
            Ok(control) => self.live(control),
            Err((status, _)) => {
                check_killed(status);
                Life {
                    acknowledged: Vec::new(),
                    is_killed: true,
                    has_listened: false,
                }
            }
        }
    }

    /// A life that is traced once it can be asked. `None` where that is not allowed.
    #[track_caller]
    fn live_attached(&self, home: &Home, strace: &Strace) -> Option<Life> {
        let control = home.plan().start();
        let _strace = strace.attach(control.id())?;
        Some(self.live(control))
    }

    /// A fixed series of changes, up to the kill or until nothing is left to do.
    #[track_caller]
    fn live(&self, mut control: Control) -> Life {
        let mut acknowledged = Vec::new();
        let is_killed = make_changes(&control, &self.cells, &mut acknowledged).is_err();
        if is_killed {
            check_killed(control.wait(PATIENCE));
        }
        control.kill();
        Life {
            acknowledged,
            is_killed,
            has_listened: true,
        }
    }
}

impl Place {
    fn kill(&self, strace: Strace) -> Strace {
        strace.inject(&self.call, &format!("signal=SIGKILL:when={}", self.number))
    }
}

impl Tally {
    fn add(&mut self, place: &Place, life: &Life) {
        self.acknowledged += life.acknowledged.len();
        if life.is_killed {
            *self.calls.entry(place.call.clone()).or_default() += 1;
            self.kills += 1;
            self.in_start += usize::from(!life.has_listened);
        }
    }

    /// Which thread does what differs from life to life, so that some places are not met again.
    #[track_caller]
    fn report(&self, what: &str, places: usize) {
        assert!(self.kills > 0, "{what}: nothing was killed");
        let calls: Vec<String> = self
            .calls
            .iter()
            .map(|(call, kills)| format!("{kills} {call}"))
            .collect();
        figure(format!(
            "{what}: {} kills at {places} places (instead of {}; {} before it listened), 0 torn or empty tables, 0 of {} \
             acknowledged changes lost",
            self.kills,
            calls.join(", "),
            self.in_start,
            self.acknowledged
        ));
    }
}

/// Every file that the daemon writes.
fn all_files(home: &Home) -> Strace {
    let state = home.state_dir();
    let token = format!(".token.new-{}", strace::PROCESS);
    let names = [
        "control.sqlite-shm",
        "control.sqlite-journal",
        "token",
        &token,
        "lock",
        "",
    ];
    let strace = Strace::new(&home.strace_log(), CALLS)
        .about(&home.database())
        .about(&home.wal())
        .about(&home.table())
        .about(&home.temporary())
        .about(&home.table_folder())
        .about(&home.table_folder().join("table.yaml.lock"));
    names
        .iter()
        .fold(strace, |strace, name| strace.about(&state.join(name)))
}

/// Two changes for each table, so that some wait for a publish that is under way.
fn make_changes(
    control: &Control,
    cells: &Cells,
    acknowledged: &mut Vec<String>,
) -> io::Result<()> {
    cells.add_to(control)?;
    wait_until_current(control)?;
    for number in 0..3 {
        for half in ["first", "second"] {
            let key = format!("{half}-{number}");
            let answer = control.ask("POST", "/v1/tenants", &tenant(&key))?;
            assert_eq!(answer.status, 200, "{}", answer.text());
            acknowledged.push(key);
        }
        wait_until_current(control)?;
    }
    Ok(())
}

/// Where a life like the rehearsed one can end.
fn places(strace: &Strace) -> Vec<Place> {
    let mut by_thread: BTreeMap<(String, u32), usize> = BTreeMap::new();
    for call in strace.calls() {
        *by_thread.entry((call.name, call.thread)).or_default() += 1;
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((call, _), count) in by_thread {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    most.into_iter()
        .flat_map(|(call, count)| {
            (1..=count).map(move |number| Place {
                call: call.clone(),
                number,
            })
        })
        .collect()
}
