//! SECURITY.md promises nothing without a test: each test that it names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

#[test]
fn every_test_that_the_threat_model_names_exists() -> Result<()> {
    let text = fs::read_to_string(tests::root().join("SECURITY.md"))?;
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let named = |row: &str| -> BTreeSet<String> {
        let cell = row.rsplit(" | ").next().unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let promises: Vec<&str> =
        rows.into_iter().filter(|row| !row.starts_with("| ---") && *row != "| promised | test |").collect();
    assert!(promises.len() > 20, "{} promises", promises.len());
    for promise in &promises {
        assert!(!named(promise).is_empty(), "no test proves: {promise}");
    }
    let mut there = BTreeSet::new();
    for folder in ["core", "edge-worker", "native-server", "tests"] {
        tests_in(&tests::root().join(folder), &mut there)?;
    }
    let missing: BTreeSet<String> =
        promises.iter().flat_map(|promise| named(promise)).filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that are not there: {missing:?}");
    Ok(())
}

/// The functions of all sources below this folder that have a sentence for a name: two words at least.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_built = ["build", "node_modules", "target"].iter().any(|built| path.ends_with(built));
        if path.is_dir() && !is_built {
            tests_in(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let names = text.lines().filter_map(|line| {
                let (_, rest) = line.split_once("fn ")?;
                let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
                name.contains('_').then(|| name.to_owned())
            });
            found.extend(names);
        }
    }
    Ok(())
}
