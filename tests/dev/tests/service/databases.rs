//! A database of a test's own: migrated, nobody else's, and gone afterwards, however the test ends.
//!
//! What could leave one behind, looked for here: a test that ends, fails, panics, is dropped in the middle, and a test program
//! that is killed.

use std::env;
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use pgspan_dev::{Result, TestDatabase};

#[test]
fn a_hundred_at_once_are_migrated_and_each_is_its_own() -> Result<()> {
    let begun = Instant::now();
    // As tests are run: each on a thread, with a runtime of its own.
    let test = |number: u32| {
        in_a_runtime(async {
            let database = TestDatabase::migrated().await?;
            let client = database.connect().await?;
            client.execute("INSERT INTO users (name) VALUES ($1)", &[&number.to_string()]).await?;
            let names: Vec<String> =
                client.query("SELECT name FROM users", &[]).await?.iter().map(|row| row.get(0)).collect();
            assert_eq!(names, [number.to_string()]);
            Ok(database.name().to_owned())
        })
    };
    let names = thread::scope(|scope| {
        let tests: Vec<_> = (0..100).map(|number| scope.spawn(move || test(number))).collect();
        tests.into_iter().map(|test| test.join().unwrap()).collect::<Result<Vec<String>>>()
    })?;
    println!("100 databases in {} ms", begun.elapsed().as_millis());
    assert_eq!(in_a_runtime(left_of(&names))?, Vec::<String>::new());
    Ok(())
}

fn in_a_runtime<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[tokio::test]
async fn a_test_that_panics_or_is_dropped_leaves_none_behind() -> Result<()> {
    let (panics, dropped) = (TestDatabase::migrated().await?, TestDatabase::empty().await?);
    let names = [panics.name().to_owned(), dropped.name().to_owned()];
    let panicked = tokio::spawn(async move {
        let _client = panics.connect().await.unwrap(); // what uses it doesn't keep it
        panic!("as a test does");
    });
    assert!(panicked.await.is_err_and(|error| error.is_panic()));
    let pending = tokio::spawn(async move {
        let _dropped = dropped;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    pending.abort();
    assert!(pending.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(left_of(&names).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_a_killed_program_leaves_the_next_removes_and_nothing_of_one_that_lives() -> Result<()> {
    let server = TestDatabase::empty().await?; // a living program's, and the way to the server
    let url = server.url().replace(server.name(), "postgres");
    let program = |what: &str, more: &[(&str, &str)]| run_as_program(what, &url, more);
    let killed = program("be killed", &[])?;
    assert!(!killed.status.success());
    let name = said(&killed, "database=");
    assert_eq!(
        left_of(std::slice::from_ref(&name)).await?,
        [name.as_str()],
        "a killed program can't clean up"
    );
    assert!(program("end", &[])?.status.success());
    let names = [name, server.name().to_owned()];
    assert_eq!(left_of(&names).await?, [server.name()]);
    Ok(())
}

#[tokio::test]
async fn migrations_that_fail_are_told_with_what_the_program_says() -> Result<()> {
    let server = TestDatabase::empty().await?;
    let url = server.url().replace(server.name(), "postgres");
    let failed = run_as_program("end", &url, &[("PGSPAN_SERVER", "/bin/ls")])?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&failed.stdout), String::from_utf8_lossy(&failed.stderr));
    assert!(!failed.status.success() && text.contains("/bin/ls migrate failed"), "{text}");
    assert!(text.contains("cannot access"), "{text}");
    Ok(())
}

/// What the tests above run as a program of its own.
#[tokio::test]
async fn another_program() -> Result<()> {
    let Ok(what) = env::var(WHAT) else { return Ok(()) };
    let database = TestDatabase::migrated().await?;
    println!("database={}", database.name());
    if what == "be killed" {
        std::process::abort();
    }
    Ok(())
}

const WHAT: &str = "PGSPAN_WHAT_TO_DO";

fn run_as_program(what: &str, server: &str, more: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", "--nocapture", "databases::another_program"]).env(WHAT, what);
    Ok(command.env("PGSPAN_TEST_DATABASE_URL", server).envs(more.iter().copied()).output()?)
}

fn said(output: &Output, what: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split(what).nth(1));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Which of these databases there are.
async fn left_of(names: &[String]) -> Result<Vec<String>> {
    let database = TestDatabase::empty().await?;
    let found = "SELECT datname FROM pg_database WHERE datname = ANY($1) ORDER BY datname";
    let rows = database.connect().await?.query(found, &[&names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
