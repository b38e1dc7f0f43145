//! A panic at the edge, in somebody else's Worker (`tests/worker`): who is answered, and what is left behind.

use std::time::Duration;

use anyhow::Result;
use tests::{Edge, Launch, Main};

use crate::support::{Answer, Database, eventually};

/// What must not be what ends a statement or a transaction here.
const PATIENT: [(&str, &str); 3] = [
    ("STATEMENT_TIMEOUT_MS", "60000"),
    ("LOCK_TIMEOUT_MS", "60000"),
    ("IDLE_IN_TRANSACTION_TIMEOUT_MS", "60000"),
];

struct Bed {
    edge: Edge,
    database: Database,
    http: reqwest::Client,
}

impl Bed {
    async fn start(settings: &[(&str, &str)]) -> Result<Bed> {
        let database = Database::empty().await?;
        let settings = [&PATIENT, settings, &[("DATABASE_URL", &database.url)]].concat();
        let edge = Edge::start_another("tests/worker", &settings).await?;
        // long enough for a machine that does much else, and shorter than anything above
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        Ok(Bed { edge, database, http })
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        Answer::of(self.http.get(self.edge.url() + path)).await
    }

    /// A panic while a request waits for a lock, which is held until both are answered; gives both answers, the waiting one first.
    async fn panic_beside_one_that_waits(&self) -> Result<(Answer, Answer)> {
        let locked = self.database.connect().await?;
        locked.execute("SELECT pg_advisory_lock(1)", &[]).await?;
        let panic = async {
            eventually("a request waits", async || Ok(self.backends().await?.1 == 1)).await?;
            self.get("/panic").await
        };
        tokio::try_join!(self.get("/wait"), panic)
    }

    /// The process of PostgreSQL that answers the next request.
    async fn backend(&self) -> Result<i32> {
        let answer = self.get("/backend").await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok(answer.text().parse()?)
    }

    /// All processes of PostgreSQL that work for the Worker, and how many of them wait for a lock.
    async fn backends(&self) -> Result<(Vec<i32>, usize)> {
        let query = "SELECT pid, wait_event_type = 'Lock' AS waits FROM pg_stat_activity \
                     WHERE datname = $1 AND application_name = 'pgspan'";
        let rows = self.database.connect().await?.query(query, &[&self.database.name]).await?;
        let waiting = rows.iter().filter(|row| row.get::<_, Option<bool>>("waits") == Some(true));
        Ok((rows.iter().map(|row| row.get("pid")).collect(), waiting.count()))
    }
}

#[tokio::test]
async fn a_panic_fails_all_in_flight_at_once_leaves_nothing_open_and_the_next_request_is_well() -> Result<()>
{
    for (connect, shards, keeps) in [("pool", "1", true), ("pool", "3", true), ("socket", "1", false)] {
        let mut bed = Bed::start(&[("PGSPAN_CONNECT", connect), ("POOL_SHARDS", shards)]).await?;
        for _ in 0..2 {
            let mut before = Vec::new();
            for _ in 0..12 {
                before.push(bed.backend().await?); // by chance each object gets a connection
            }
            let (waiting, panicked) = bed.panic_beside_one_that_waits().await?;
            waiting.is_problem(500, "internal");
            panicked.is_problem(500, "internal");
            if shards != "1" {
                // the others of the isolate end a moment after the object that panicked
                eventually("all objects end", async || Ok(bed.backends().await?.0.is_empty())).await?;
            }
            let after = bed.backend().await?;
            assert!(!before.contains(&after), "{connect}: a connection of before the panic");
            let left = if keeps { vec![after] } else { Vec::new() };
            eventually("what was open is closed", async || Ok(bed.backends().await?.0 == left)).await?;
        }
        let log = std::fs::read_to_string(bed.edge.process().log())?;
        assert_eq!(log.matches("panic at tests/worker/src/lib.rs").count(), 2, "{connect}: {log}");
        assert!(!log.contains("CANARY"), "{connect}: {log}");
    }
    Ok(())
}

/// Without the entry the runtime answers those in flight, since their program is gone: with a 500 of its own.
#[tokio::test]
async fn a_panic_of_a_program_without_the_entry_ends_its_object_and_the_next_request_is_well() -> Result<()> {
    let database = Database::empty().await?;
    let settings = [&PATIENT[..], &[("DATABASE_URL", database.url.as_str())]].concat();
    let launch = Launch {
        worker: Some("tests/worker"),
        main: Main::Program,
        settings: &settings,
        ..Launch::default()
    };
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let mut bed = Bed { edge: launch.start().await?, database, http };
    for _ in 0..2 {
        let before = bed.backend().await?;
        let (waiting, panicked) = bed.panic_beside_one_that_waits().await?;
        assert_eq!((waiting.status.as_u16(), panicked.status.as_u16()), (500, 500));
        let after = bed.backend().await?;
        assert_ne!(after, before, "a connection of before the panic");
        eventually("what was open is closed", async || Ok(bed.backends().await?.0 == [after])).await?;
    }
    let log = std::fs::read_to_string(bed.edge.process().log())?;
    assert_eq!(log.matches("panic at tests/worker/src/lib.rs").count(), 2, "{log}");
    assert!(!log.contains("CANARY"), "{log}");
    Ok(())
}
