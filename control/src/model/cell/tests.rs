use super::*;

fn spec(json: &str) -> SettingsSpec {
    serde_json::from_str(json).unwrap()
}

#[test]
fn settings_are_judged_by_the_table_library() {
    let check = |json: &str, expected: &[&str]| {
        let reported = match spec(json).check() {
            Ok(_) => Vec::new(),
            Err(problems) => problems.problems.iter().map(ToString::to_string).collect(),
        };
        let starts = |(reported, expected): (&String, &&str)| reported.starts_with(expected);
        assert!(
            reported.len() == expected.len() && reported.iter().zip(expected).all(starts),
            "{json}: {reported:?}"
        );
    };
    check(r#"{"endpoints":[{"address":"127.0.0.1:9001"}]}"#, &[]);
    check(r"{}", &[]);
    check(
        r#"{"endpoints":[{"address":"cell.internal:80"}]}"#,
        &["endpoints[0].address: `cell.internal:80` is not an IP address with a port"],
    );
    check(
        r#"{"endpoints":[{"address":"10.0.0.1:80","weight":0},{"address":"10.0.0.1:80"}],"max_in_flight":0}"#,
        &[
            "endpoints[0].weight: is 0, out of range",
            "max_in_flight: is 0, out of range",
        ],
    );
    check(
        r#"{"endpoints":[{"address":"0.0.0.0:80"},{"address":"http://10.0.0.7:80"}]}"#,
        &[
            "endpoints[0].address: `0.0.0.0:80` means every address of a machine",
            "endpoints[1].address: `http://10.0.0.7:80` is a URL",
        ],
    );
    check(
        r#"{"health_check":{"type":"http","host":"a b"}}"#,
        &["health_check.host: `a b` is not a host"],
    );
    check(
        r#"{"health_check":{"type":"tcp","path":"/"}}"#,
        &["health_check.path: goes with `type: http` only"],
    );
    check(
        r#"{"tls":{"server_name":"*.example.com","ca":"","client_cert":{"certificate":"p","key":""}}}"#,
        &[
            "tls.server_name: `*.example.com` is not a server's name",
            "tls.ca: `` is not a path",
            "tls.client_cert.key: `` is not a path",
        ],
    );
}

#[test]
fn settings_read_back_as_written() {
    let text = r#"{"endpoints":[{"address":"[::1]:9001","weight":3}],"max_in_flight":7,
        "health_check":{"type":"http","path":"/up","host":"shop.example","interval_ms":500,"timeout_ms":20,
        "unhealthy_after":1,"healthy_after":4},
        "tls":{"server_name":"a.example","ca":"ca.pem","client_cert":{"certificate":"p.crt","key":"p.key"}}}"#;
    let settings = spec(text).check().unwrap();
    assert_eq!(settings.spec(), spec(text));
    assert_eq!(settings.spec().check().unwrap(), settings);
    assert_eq!(settings.spec().settings(), Some(settings));
}

#[test]
fn every_state_can_be_left_but_only_as_drawn() {
    for state in CellState::ALL {
        assert!(!state.followers().is_empty(), "{state}");
        assert!(!state.may_become(state), "{state}");
        assert_eq!(CellState::of(state.as_str()), Some(state));
    }
    assert!(!CellState::Active.may_become(CellState::Removed));
    assert!(!CellState::Draining.may_become(CellState::Removed));
    assert_eq!(CellState::of("asleep"), None);
}

#[test]
fn labels_have_limits() {
    let check = |name: &str, value: &str| {
        objection_to_labels(&BTreeMap::from([(name.to_owned(), value.to_owned())])).is_none()
    };
    assert!(check("zone", "eu-1a") && check("app/version", ""));
    assert!(!check("", "x") && !check("a b", "x") && !check("zone", "a\nb"));
    assert!(!check("zone", &"x".repeat(256)));
}
