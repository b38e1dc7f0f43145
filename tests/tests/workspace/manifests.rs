//! The dependency rule of ARCHITECTURE.md, read from the manifests: a workspace build unifies features, so that it builds
//! proves nothing.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// What each package of the workspace declares for itself, tests and build scripts aside.
fn declared() -> Result<HashMap<String, Vec<Value>>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(tests::root())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    Ok(packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
            let normal = dependencies.into_iter().filter(|dependency| dependency["kind"].is_null()).collect();
            (package["name"].as_str().unwrap_or_default().to_owned(), normal)
        })
        .collect())
}

fn names(dependencies: &[Value]) -> Vec<&str> {
    dependencies.iter().filter_map(|dependency| dependency["name"].as_str()).collect()
}

#[test]
fn core_and_the_application_depend_on_no_host_and_on_no_runtime() -> Result<()> {
    let declared = declared()?;
    let runtimes = [
        "hyper",
        "hyper-util",
        "deadpool",
        "deadpool-postgres",
        "worker",
        "wasm-bindgen",
        "wasm-bindgen-futures",
    ];
    for package in ["pgspan", "pgspan-app", "pgspan-http", "pgspan-macros", "pgspan-scan"] {
        let dependencies = &declared[package];
        for name in names(dependencies) {
            let host = [
                "pgspan-server",
                "pgspan-edge",
                "pgspan-dev",
                "tests",
                "tests-worker",
                "pgspan-worker",
                "xtask",
            ]
            .contains(&name);
            assert!(!host && !runtimes.contains(&name), "{package} depends on {name}");
        }
        for dependency in dependencies {
            let name = dependency["name"].as_str().unwrap_or_default();
            let features: Vec<&str> =
                dependency["features"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let default = dependency["uses_default_features"] == true;
            match name {
                "tokio" => assert!(
                    !default && features.iter().all(|feature| ["io-util", "sync"].contains(feature)),
                    "{package}: tokio with {features:?}"
                ),
                "tokio-postgres" => {
                    assert!(
                        !default && !features.contains(&"runtime"),
                        "{package}: tokio-postgres with {features:?}"
                    );
                }
                "axum" => assert!(
                    !default
                        && !features
                            .iter()
                            .any(|feature| ["tokio", "http1", "http2", "ws"].contains(feature)),
                    "{package}: axum with {features:?}"
                ),
                _ => {}
            }
        }
    }
    Ok(())
}

#[test]
fn only_the_hosts_name_what_is_theirs() -> Result<()> {
    for (package, dependencies) in declared()? {
        let names = names(&dependencies);
        let is_program = |name: &&str| ["pgspan-worker", "tests-worker"].contains(name);
        assert!(!names.iter().any(is_program), "{package} depends on a program: {names:?}");
        if is_program(&package.as_str()) {
            continue; // what a user's Worker is
        }
        if package != "pgspan-edge" {
            assert!(
                !names.iter().any(|name| ["worker", "wasm-bindgen"].contains(name)),
                "{package}: {names:?}"
            );
        }
        // the Worker's pool is deadpool's too, the part that needs no runtime
        let natives = |name: &&str| name.starts_with("hyper") || *name == "deadpool-postgres";
        assert!(package == "pgspan-server" || !names.iter().any(natives), "{package}: {names:?}");
        let is_a_host = ["pgspan-server", "pgspan-edge"].contains(&package.as_str());
        assert!(is_a_host || !names.contains(&"deadpool"), "{package}: {names:?}");
        let is_host = |name: &&str| ["pgspan-server", "pgspan-edge"].contains(name);
        assert!(!names.iter().any(is_host), "the library {package} depends on a host: {names:?}");
    }
    Ok(())
}

#[test]
fn the_hosts_libraries_do_without_the_application() -> Result<()> {
    let declared = declared()?;
    let application =
        |host: &str| declared[host].iter().find(|dependency| dependency["name"] == "pgspan-app");
    let native = application("pgspan-server").context("pgspan-server does not serve the application")?;
    assert_eq!(native["optional"], true, "the application must be a feature");
    assert_eq!(application("pgspan-edge"), None, "the application is pgspan-worker's");
    assert!(application("pgspan-worker").is_some(), "pgspan-worker does not serve the application");
    Ok(())
}

#[test]
fn the_bed_of_any_project_depends_on_no_crate_of_pgspan() -> Result<()> {
    let declared = declared()?;
    let names = names(&declared["pgspan-dev"]);
    assert!(!names.is_empty() && !names.iter().any(|name| name.starts_with("pgspan")), "{names:?}");
    Ok(())
}

#[test]
fn no_library_asks_for_one_version_alone() -> Result<()> {
    for (package, dependencies) in declared()? {
        for dependency in &dependencies {
            let exact = dependency["req"].as_str().is_some_and(|version| version.starts_with('='));
            assert!(!exact, "{package} can't be built beside a newer {}", dependency["name"]);
        }
    }
    Ok(())
}
