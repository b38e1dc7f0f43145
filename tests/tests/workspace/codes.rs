//! docs/http.md has every code of the sample's answers, with its status.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

#[test]
fn the_documentation_has_every_code_with_its_status() -> Result<()> {
    let answers = fs::read_to_string(tests::root().join("core/app/tests/answers.txt"))?;
    let documented = fs::read_to_string(tests::root().join("docs/http.md"))?;
    let mut sent = BTreeSet::new();
    for line in answers.lines().filter(|line| line.starts_with("{\"type\"")) {
        let problem: serde_json::Value = serde_json::from_str(line)?;
        let code = problem["code"].as_str().context("no code")?.to_owned();
        sent.insert((code, problem["status"].to_string()));
    }
    assert!(sent.len() > 15, "{sent:?}");
    for (code, status) in sent {
        let row = documented.lines().any(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            cells.get(1).is_some_and(|cell| cell.contains(&format!("`{code}`")))
                && cells.get(2).is_some_and(|cell| cell.contains(&status))
        });
        assert!(row, "docs/http.md says nothing of {code}, {status}");
    }
    Ok(())
}
