//! The units for systemd, as systemd judges them.

use std::{fs, path::Path, process::Command};

use crate::support::{built_program, heavy};

/// Tenths of the exposure that systemd counts; 100 is all of it.
const EXPOSURE_MAX: &str = "--threshold=30";

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect("it is there");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return heavy::skip("there is no systemd-analyze");
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["cellgate-proxy", "cellgate-control"] {
        let unit = format!(
            "{}/../conf/systemd/{name}.service",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = fs::read_to_string(unit).unwrap();
        // Not there where the program is installed elsewhere.
        let installed = format!("/usr/bin/{name}");
        assert!(text.contains(&installed));
        let built = built_program(name).display().to_string();
        let path = directory.path().join(format!("{name}.service"));
        fs::write(&path, text.replace(&installed, &built)).unwrap();
        let (is_good, said) = analyze(&["verify", "--man=no"], &path);
        assert!(is_good && said.trim().is_empty(), "{name}: {said}");
        let (is_good, said) = analyze(
            &["security", "--offline=true", "--no-pager", EXPOSURE_MAX],
            &path,
        );
        assert!(is_good, "{name}: {said}");
        let exposure = said.lines().rfind(|line| line.contains("exposure"));
        heavy::figure(exposure.unwrap_or("no exposure is named"));
        // A mistake is noticed.
        fs::write(&path, "[Service]\nExecStart=/no/such/program\n").unwrap();
        assert!(!analyze(&["verify", "--man=no"], &path).0);
    }
}
