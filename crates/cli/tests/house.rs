//! The import rule of ARCHITECTURE.md, held against `cargo metadata`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Which of our crates each of our crates may depend on; dev-dependencies are free.
const ALLOWED: &[(&str, &[&str])] = &[
    ("farthing-core", &[]),
    ("farthing-evm", &["farthing-core"]),
    ("farthing-store", &["farthing-core"]),
    ("farthing-client", &["farthing-core"]),
    ("farthing-server", &["farthing-core"]),
    ("farthing-facilitator", &["farthing-core"]),
    ("farthing-gateway", &["farthing-core", "farthing-server"]),
    ("farthing-devnet", &["farthing-core"]),
    (
        "farthing",
        &["farthing-core", "farthing-evm", "farthing-client", "farthing-server", "farthing-facilitator", "farthing-store"],
    ),
    (
        "farthing-cli",
        &[
            "farthing",
            "farthing-core",
            "farthing-evm",
            "farthing-client",
            "farthing-server",
            "farthing-facilitator",
            "farthing-gateway",
            "farthing-store",
            "farthing-devnet",
        ],
    ),
    ("farthing-testkit", &["farthing-core", "farthing-devnet", "farthing-evm", "farthing-facilitator"]),
    ("xtask", &[]),
];

/// Outside crates that core must do without: runtimes, HTTP, chains.
const NOT_IN_CORE: &[&str] =
    &["tokio", "hyper", "http", "reqwest", "axum", "alloy-primitives", "secp256k1", "getrandom", "tracing"];

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Normal and build dependencies by crate.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let names = dependencies.filter(|dependency| dependency["kind"] != "dev");
            (
                package["name"].as_str().unwrap().to_owned(),
                names.map(|name| name["name"].as_str().unwrap().to_owned()).collect(),
            )
        })
        .collect()
}

#[test]
fn crates_import_only_downwards() {
    let dependencies = dependencies();
    for (name, allowed) in ALLOWED {
        for dependency in dependencies.get(*name).unwrap_or_else(|| panic!("{name} is not in the workspace")) {
            let ours = dependencies.contains_key(dependency);
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name} imports {dependency}, against the import rule");
        }
    }
}

#[test]
fn every_crate_under_crates_has_its_rule() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let path = package["manifest_path"].as_str().unwrap();
        let name = package["name"].as_str().unwrap();
        assert!(!path.contains("/crates/") || ALLOWED.iter().any(|(known, _)| *known == name), "{name} has no import rule");
    }
}

#[test]
fn the_protocol_knows_no_runtime_no_http_and_no_chain() {
    for dependency in &dependencies()["farthing-core"] {
        assert!(!NOT_IN_CORE.contains(&dependency.as_str()), "core imports {dependency}");
    }
}
