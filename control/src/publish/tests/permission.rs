//! What needs permission, and what only looks as if it did.

use super::*;

#[test]
fn a_foreign_table_needs_permission() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    fs::write(home.table(), FOREIGN).unwrap();
    let digest = digest_of(FOREIGN.as_bytes());
    let foreign = Some(Blocked::ForeignTable { digest });
    home.change(|write| {
        write.touch_table();
        Ok(())
    });
    for _ in 0..2 {
        assert_eq!(publisher.publish(&[]), Outcome::Blocked);
        assert_eq!(publisher.status().blocked, foreign);
        assert_eq!(home.bytes(), FOREIGN.as_bytes());
    }
    let (standing, foreign_generation) = publisher.standing().unwrap();
    assert_eq!(foreign_generation, 500);
    publisher.allow_overwrite(Some(standing), 0);
    let next = home.change(|write| {
        write.skip_to(foreign_generation + 1);
        write.allow_move();
        Ok(())
    });
    assert_eq!(next, 501);
    assert_eq!(publisher.publish(&[]), Outcome::Published(501));
    check_agreement(&home, &publisher, 501);
    assert!(home.parsed().allow_move(), "the proxies may have the other");
    // The permission was for that table only.
    fs::write(home.table(), FOREIGN).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    assert_eq!(publisher.status().blocked, foreign);
}

#[test]
fn the_permission_is_for_the_bytes_that_were_there() {
    let home = Home::new();
    let publisher = home.publisher();
    assert_eq!(publisher.standing(), None);
    fs::write(home.table(), "no table at all").unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    let (standing, generation) = publisher.standing().unwrap();
    assert_eq!(generation, 0);
    publisher.allow_overwrite(Some(standing), 0);
    fs::write(home.table(), FOREIGN).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    assert_eq!(home.bytes(), FOREIGN.as_bytes());
    fs::write(home.table(), "no table at all").unwrap();
    assert!(matches!(publisher.publish(&[]), Outcome::Published(_)));
}

/// A proxy that was away may wait for the permission, though the map itself stays as it is.
#[test]
fn a_permission_to_move_is_always_written() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    assert!(!home.parsed().allow_move());
    for _ in 0..2 {
        let allowed = home.change(|write| {
            write.allow_move();
            Ok(())
        });
        assert_eq!(publisher.publish(&[]), Outcome::Published(allowed));
        assert!(home.parsed().allow_move());
        check_agreement(&home, &publisher, allowed);
        assert_eq!(publisher.publish(&[]), Outcome::Current);
    }
}

#[test]
fn too_many_slots_need_permission() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let before = home.bytes();
    let quarter = home.cut_at(25);
    assert_eq!(publisher.publish(&[]), Outcome::Published(quarter));
    fs::write(home.table(), &before).unwrap();
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    let before = home.bytes();
    home.cut_at(51);
    for _ in 0..2 {
        assert_eq!(publisher.publish(&[]), Outcome::Blocked);
        let reported = "26.00 % of the slots would move to another cell, more than 25 %".to_owned();
        assert_eq!(
            publisher.status().blocked,
            Some(Blocked::MovesTooMuch(reported))
        );
        assert_eq!(publisher.status().generation, Some(quarter));
        assert_eq!(home.bytes(), before);
    }
    let allowed = home.change(|write| {
        write.allow_move();
        Ok(())
    });
    assert_eq!(publisher.publish(&[]), Outcome::Published(allowed));
    check_agreement(&home, &publisher, allowed);
    assert!(home.parsed().allow_move());
}

#[test]
fn a_block_ends_when_its_cause_does() {
    let home = Home::new();
    let publisher = home.publisher();
    let Outcome::Published(generation) = publisher.publish(&[]) else {
        panic!("{:?}", publisher.status());
    };
    home.cut_at(100);
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    home.cut_at(50);
    assert_eq!(publisher.publish(&[]), Outcome::Current);
    check_agreement(&home, &publisher, generation);
}

#[test]
fn many_new_tenants_are_no_move() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let many = home.register(&away(numbered(4 * TENANTS_MAX)));
    assert_eq!(publisher.publish(&[]), Outcome::Published(many));
    check_agreement(&home, &publisher, many);
    assert!(home.parsed().allow_move(), "proxies count them as moved");
}

#[test]
fn other_keys_of_new_tenants_are_no_move() {
    let home = Home::new();
    let publisher = home.publisher();
    publisher.publish(&[]);
    let mut batch = away(numbered(TENANTS_MAX));
    for new in &mut batch {
        new.aliases = (0..8).map(|at| format!("{at}.{}", new.key)).collect();
    }
    let many = home.register(&batch);
    assert_eq!(publisher.publish(&[]), Outcome::Published(many));
    check_agreement(&home, &publisher, many);
    assert!(home.parsed().allow_move(), "proxies count them as moved");
}

/// Each change moves one tenant, and the table would move all of them.
#[test]
fn many_moved_tenants_need_permission() {
    let home = Home::new();
    let publisher = home.publisher();
    let batch = away(numbered(2 * TENANTS_MAX + 2));
    home.register(&batch);
    publisher.publish(&[]);
    let before = home.bytes();
    for tenant in &batch {
        let other = if tenant.cell.as_deref() == Some("a") {
            "b"
        } else {
            "a"
        };
        home.change(|write| tenants::pin(write, &key(&tenant.key), &id(other), false).map(drop));
    }
    assert_eq!(publisher.publish(&[]), Outcome::Blocked);
    let reported = "8 named tenants would move to another cell, more than 3".to_owned();
    assert_eq!(
        publisher.status().blocked,
        Some(Blocked::MovesTooMuch(reported))
    );
    assert_eq!(home.bytes(), before);
}
