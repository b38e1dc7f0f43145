//! Makes a test of each example of the book (`core/docs`), for `tests/tests/book`. Only what a reader needs stands in an example; what
//! it runs in is here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let book = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../core/docs");
    println!("cargo::rerun-if-changed={}", book.display());
    let mut chapters: Vec<PathBuf> =
        fs::read_dir(book)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    chapters.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    chapters.sort();
    let mut tests = String::new();
    for path in chapters {
        let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a chapter without a name")?;
        chapter(&mut tests, name, &fs::read_to_string(&path)?)?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("book.rs"), tests)?;
    Ok(())
}

/// A module with a test for each example; its name says where the example stands.
fn chapter(tests: &mut String, name: &str, text: &str) -> Result<(), Box<dyn error::Error>> {
    writeln!(tests, "mod {name} {{")?;
    let mut lines = text.lines().zip(1..);
    while let Some((fence, number)) = lines.next() {
        if fence != "```rust" {
            continue;
        }
        writeln!(
            tests,
            "#[tokio::test]\nasync fn line_{number}() -> Result<(), Box<dyn std::error::Error>> {{"
        )?;
        writeln!(tests, "let example = tests::example().await?;\nlet url = example.url();")?;
        writeln!(tests, "let mut db = pgspan_server::connect(url).await?;")?;
        for (line, _) in lines.by_ref().take_while(|(line, _)| *line != "```") {
            writeln!(tests, "{line}")?;
        }
        writeln!(tests, "Ok(())\n}}")?;
    }
    writeln!(tests, "}}")?;
    Ok(())
}
