use std::{cell::Cell, rc::Rc};

use super::*;

const LIMITS: PoolLimits = PoolLimits {
    idle_total_max: 1024,
    idle_per_cell_max: 256,
    idle: Duration::from_secs(60),
    requests_per_connection_max: 0,
};

/// A connection that can be distinguished and closed from outside.
#[derive(Debug)]
struct Fake {
    number: u32,
    served: u64,
    is_open: Rc<Cell<bool>>,
}

impl Fake {
    fn new(number: u32) -> Self {
        Self {
            number,
            served: 1,
            is_open: Rc::new(Cell::new(true)),
        }
    }
}

impl Idle for Fake {
    fn is_silent(&mut self) -> bool {
        self.is_open.get()
    }

    fn seems_silent(&mut self) -> bool {
        self.is_open.get()
    }

    fn served(&self) -> u64 {
        self.served
    }
}

fn pool(limits: PoolLimits) -> Pool<Fake> {
    Pool::new(limits)
}

fn transport(cell: &str, port: u16) -> Arc<Transport> {
    Arc::new(Transport::new(
        CellId::new(cell).expect("a valid id"),
        SocketAddr::from(([127, 0, 0, 1], port)),
        None,
    ))
}

fn key(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn taken(pool: &Pool<Fake>, transport: &Arc<Transport>, tenant: Option<&str>) -> Option<u32> {
    pool.take(
        transport,
        tenant.map(str::as_bytes),
        IdleCheck::Probed,
        Instant::now(),
    )
    .map(|fake| fake.number)
}

#[test]
fn the_newest_connection_that_fits_is_given_out_once() {
    let pool = pool(LIMITS);
    let a = transport("a", 1);
    pool.put(Arc::clone(&a), None, Fake::new(1), Instant::now());
    pool.put(Arc::clone(&a), None, Fake::new(2), Instant::now());
    assert_eq!(pool.idle(), 2);
    // Another snapshot has an equal transport, and it is not the same one.
    assert_eq!(taken(&pool, &transport("a", 1), None), Some(2));
    assert_eq!(taken(&pool, &a, None), Some(1));
    assert_eq!(taken(&pool, &a, None), None);
    assert_eq!((pool.idle(), pool.reused(), pool.missed()), (0, 2, 1));
}

#[test]
fn nothing_is_given_to_another_transport_or_tenant() {
    let kept = [
        (("a", 1), None),
        (("a", 1), Some("tenant-a")),
        (("a", 1), Some("")),
        (("a", 2), None),
        (("b", 1), None),
        (("b", 1), Some("tenant-a")),
    ];
    for (mine, (my_transport, my_tenant)) in kept.iter().enumerate() {
        for (asked, (other_transport, other_tenant)) in kept.iter().enumerate() {
            let pool = pool(LIMITS);
            let put = transport(my_transport.0, my_transport.1);
            pool.put(put, my_tenant.map(key), Fake::new(7), Instant::now());
            let other = transport(other_transport.0, other_transport.1);
            let expected = (mine == asked).then_some(7);
            assert_eq!(
                taken(&pool, &other, *other_tenant),
                expected,
                "{mine} asked as {asked}"
            );
        }
    }
}

#[test]
fn a_million_keys_of_one_cell_leave_the_connections_of_another_alone() {
    let pool = pool(LIMITS);
    let quiet = transport("quiet", 1);
    for number in 0..50 {
        pool.put(Arc::clone(&quiet), None, Fake::new(number), Instant::now());
    }
    let busy = transport("busy", 2);
    for number in 0..1_000_000 {
        pool.put(
            Arc::clone(&busy),
            Some(key(&number.to_string())),
            Fake::new(number),
            Instant::now(),
        );
    }
    assert_eq!(pool.idle(), 50 + LIMITS.idle_per_cell_max);
    for number in (0..50).rev() {
        assert_eq!(taken(&pool, &quiet, None), Some(number));
    }
    // The cell's own newest are there, its oldest are not.
    assert_eq!(taken(&pool, &busy, Some("999999")), Some(999_999));
    assert_eq!(taken(&pool, &busy, Some("0")), None);
}

#[test]
fn beyond_the_total_the_cell_that_has_most_loses_its_oldest() {
    let pool = pool(PoolLimits {
        idle_total_max: 10,
        ..LIMITS
    });
    let (large, small) = (transport("large", 1), transport("small", 2));
    for number in 0..8 {
        pool.put(Arc::clone(&large), None, Fake::new(number), Instant::now());
    }
    for number in 0..4 {
        pool.put(Arc::clone(&small), None, Fake::new(number), Instant::now());
    }
    assert_eq!(pool.idle(), 10);
    let left = |transport| std::iter::from_fn(|| taken(&pool, transport, None)).collect::<Vec<_>>();
    assert_eq!(left(&small), [3, 2, 1, 0]);
    assert_eq!(left(&large), [7, 6, 5, 4, 3, 2]);
}

#[test]
fn what_waited_for_too_long_is_not_given_out_and_swept() {
    let pool = pool(PoolLimits {
        idle: Duration::ZERO,
        ..LIMITS
    });
    let a = transport("a", 1);
    pool.put(Arc::clone(&a), None, Fake::new(1), Instant::now());
    assert_eq!(taken(&pool, &a, None), None);
    assert_eq!(pool.idle(), 0);

    let pool = self::pool(LIMITS);
    pool.put(Arc::clone(&a), None, Fake::new(1), Instant::now());
    let now = Instant::now();
    pool.sweep(now);
    assert_eq!(pool.idle(), 1);
    pool.sweep(now + LIMITS.idle);
    assert_eq!(pool.idle(), 0);
    assert_eq!(taken(&pool, &a, None), None);
}

#[test]
fn what_the_cell_closed_is_passed_over_and_swept() {
    let pool = pool(LIMITS);
    let a = transport("a", 1);
    let closed = Fake::new(2);
    let is_open = Rc::clone(&closed.is_open);
    pool.put(Arc::clone(&a), None, Fake::new(1), Instant::now());
    pool.put(Arc::clone(&a), None, closed, Instant::now());
    is_open.set(false);
    assert_eq!(taken(&pool, &a, None), Some(1));

    let closed = Fake::new(3);
    closed.is_open.set(false);
    pool.put(Arc::clone(&a), None, closed, Instant::now());
    pool.sweep(Instant::now());
    assert_eq!(pool.idle(), 0);
}

#[test]
fn a_connection_that_has_carried_enough_is_not_kept() {
    let limits = PoolLimits {
        requests_per_connection_max: 3,
        ..LIMITS
    };
    for (served, is_kept) in [(1, true), (2, true), (3, false), (4, false)] {
        let pool = pool(limits);
        let a = transport("a", 1);
        let fake = Fake {
            served,
            ..Fake::new(1)
        };
        pool.put(Arc::clone(&a), None, fake, Instant::now());
        assert_eq!(taken(&pool, &a, None).is_some(), is_kept, "{served} served");
    }
}

#[test]
fn cells_that_left_the_table_leave_nothing_behind() {
    let pool = pool(LIMITS);
    for cell in ["a", "b"] {
        pool.put(transport(cell, 1), None, Fake::new(1), Instant::now());
    }
    pool.retain_cells(|cell| cell.as_str() == "b");
    assert_eq!(pool.idle(), 1);
    assert_eq!(taken(&pool, &transport("a", 1), None), None);
    assert_eq!(lock(&pool.idle_by_cell).len(), 1);
}

/// A connection that several threads can hold.
struct Plain;

impl Idle for Plain {
    fn is_silent(&mut self) -> bool {
        true
    }

    fn seems_silent(&mut self) -> bool {
        true
    }

    fn served(&self) -> u64 {
        1
    }
}

#[test]
fn the_limits_hold_over_the_shards_of_all_threads() {
    let pool = Pool::<Plain>::new(PoolLimits {
        idle_total_max: 40,
        idle_per_cell_max: 30,
        ..LIMITS
    });
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..1_000_u16 {
                    let cell = transport(["a", "b"][usize::from(round % 2)], 1);
                    pool.put(Arc::clone(&cell), None, Plain, Instant::now());
                    if round % 3 == 0 {
                        let _ = pool.take(&cell, None, IdleCheck::Probed, Instant::now());
                    }
                }
            });
        }
    });
    let in_shards: usize = pool
        .shards
        .iter()
        .flat_map(|shard| {
            let shard = lock(shard);
            let counts: Vec<_> = shard.cells.iter().map(|cell| cell.waiting.len()).collect();
            counts
        })
        .sum();
    assert_eq!(
        pool.idle(),
        in_shards,
        "nothing is counted twice or forgotten"
    );
    assert!(in_shards <= 40, "{in_shards} wait");
    for count in lock(&pool.idle_by_cell).values() {
        assert!(count.load(Ordering::Relaxed) <= 30);
    }
}
