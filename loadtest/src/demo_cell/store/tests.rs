use tempfile::TempDir;

use super::*;

fn tenant(name: &str) -> TenantKey {
    TenantKey::try_from(name.as_bytes()).unwrap()
}

fn store(directory: &TempDir) -> Store {
    Store::open(directory.path(), 2).unwrap()
}

fn files(directory: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn reading_makes_no_file() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let acme = tenant("acme");

    assert_eq!(store.value(&acme, "a").unwrap(), None);
    assert!(!store.delete(&acme, "a").unwrap());
    assert_eq!(store.keys(&acme, "", 10).unwrap(), KeyPage::default());
    assert_eq!(files(&directory), Vec::<String>::new());

    store.put(&acme, "a", b"1").unwrap();
    assert_eq!(store.value(&acme, "a").unwrap().unwrap(), b"1");
    drop(store);
    assert_eq!(
        files(&directory),
        ["t-acme.sqlite"],
        "closing folds the write-ahead log into the file"
    );
}

#[test]
fn more_tenants_than_open_databases() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let tenants: Vec<TenantKey> = (0..10).map(|n| tenant(&format!("tenant-{n}"))).collect();

    for tenant in &tenants {
        store.put(tenant, "name", tenant.as_bytes()).unwrap();
        let open = files(&directory)
            .iter()
            .filter(|name| name.ends_with("-wal"))
            .count();
        assert!(open <= 2, "{open} databases are open");
    }
    for tenant in &tenants {
        assert_eq!(
            store.value(tenant, "name").unwrap().unwrap(),
            tenant.as_bytes()
        );
    }
}

#[test]
fn pages_of_keys() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let acme = tenant("acme");
    for key in ["c", "a", "b"] {
        store.put(&acme, key, b"").unwrap();
    }

    let check = |after: &str, keys: &[&str], more: bool| {
        let keys = keys.iter().map(ToString::to_string).collect();
        assert_eq!(store.keys(&acme, after, 2).unwrap(), KeyPage { keys, more });
    };
    check("", &["a", "b"], true);
    check("a", &["b", "c"], false);
    check("aa", &["b", "c"], false);
    check("c", &[], false);
}

#[test]
fn another_tenants_file_is_not_served() {
    let directory = TempDir::new().unwrap();
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let original = store(&directory);
    original.put(&acme, "a", b"acme's").unwrap();
    drop(original);
    fs::copy(
        directory.path().join(acme.file_name()),
        directory.path().join(globex.file_name()),
    )
    .unwrap();

    let store = store(&directory);
    let error = store.value(&globex, "a").unwrap_err();
    assert!(matches!(error, StoreError::ForeignFile { .. }), "{error:?}");
    assert_eq!(store.value(&acme, "a").unwrap().unwrap(), b"acme's");
}

/// A file that cannot be opened is tried again by the next request; the failure is not kept.
#[test]
fn a_broken_file_can_be_mended() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory);
    let acme = tenant("acme");
    let path = directory.path().join(acme.file_name());
    fs::write(
        &path,
        "this is not a database, though it is long enough to be one".repeat(10),
    )
    .unwrap();

    let error = store.put(&acme, "a", b"1").unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    fs::remove_file(&path).unwrap();
    store.put(&acme, "a", b"1").unwrap();
}
