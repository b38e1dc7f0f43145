//! What is logged of statements.
//!
//! The siblings that were looked for: each way of sending; text made at run time, which may hold values; what fails, what is lost and
//! what gets no answer; a statement below and at the limit for slow ones; a whole transaction.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgspan::testing::Reply;
use pgspan::types::Type;
use pgspan::{Settings, Sql, sql};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::bed::Bed;

/// Keeps the lines of `pgspan::statement`, as `LEVEL message field=value …`.
#[derive(Clone)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    level: Level,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pgspan::statement" && *metadata.level() <= self.level
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

fn logged(level: Level, settings: Settings, work: impl AsyncFnOnce(pgspan::Database)) -> Vec<String> {
    let mut bed = Bed::with(settings, |statement| match statement.text() {
        "SELECT fails" => Reply::error("22012"),
        "SELECT n" => Reply::columns(&[("n", Type::INT8)]).row(&[&1_i64]).row(&[&2_i64]),
        "SELECT n then fails" => {
            Reply::columns(&[("n", Type::INT8)]).row(&[&1_i64]).row(&[&2_i64]).then(Reply::error("22012"))
        }
        "COPY t TO STDOUT" => Reply::copy_out(["1\n"]),
        "SELECT lost" => Reply::close(),
        "SELECT silent" => Reply::silence(),
        "SELECT slow" => Reply::affected(1).after(Duration::from_millis(1500)),
        _ => Reply::affected(3).after(Duration::from_millis(2)),
    });
    let lines = Lines { lines: Arc::default(), level };
    let db = bed.db.clone();
    tracing::subscriber::with_default(lines.clone(), || bed.run(work(db)));
    drop(bed);
    let kept = lines.lines.lock().unwrap();
    kept.clone()
}

fn line(statement: &str, ms: &str, rows: u32, outcome: &str) -> String {
    format!(
        "DEBUG message=a statement statement={statement:?} ms={ms} rows={rows} round_trips=1 outcome={outcome:?}"
    )
}

#[test]
fn each_statement_is_logged_at_debug_with_its_time_and_rows() {
    let lines = logged(Level::DEBUG, Settings::default(), async |db| {
        let name = "CANARY";
        db.execute(sql!("UPDATE t SET name = {name}")).await.unwrap();
        let mut session = db.session().await.unwrap();
        session.execute("SELECT fails").await.unwrap_err();
        session.batch(["SELECT 1", "SELECT fails"]).await.map(drop).unwrap_err();
        let mut tx = session.transaction();
        tx.execute("DELETE FROM t").await.unwrap();
        tx.commit().await.unwrap();
        drop(session.fetch_stream::<i64>("SELECT rows").await.unwrap());
        let mut session = db.session().await.unwrap();
        session.execute("SELECT lost").await.unwrap_err();
    });
    assert_eq!(
        lines,
        [
            line("UPDATE t SET name = $1", "2.0", 3, "ok"),
            line("SELECT fails", "0.0", 0, "22012"),
            line("SELECT 1; SELECT fails", "2.0", 3, "22012"),
            line("DELETE FROM t", "4.0", 3, "ok"), // and BEGIN ahead of it
            line("COMMIT", "2.0", 0, "ok"),
            line("SELECT rows", "2.0", 0, "ok"), // its start
            end("SELECT rows", "2.0", 0, "given up"),
            line("SELECT lost", "0.0", 0, "lost"),
        ]
    );
}

/// The end of a statement that is answered bit by bit.
fn end(statement: &str, ms: &str, rows: u32, outcome: &str) -> String {
    format!(
        "DEBUG message=the end of a statement statement={statement:?} ms={ms} rows={rows} outcome={outcome:?}"
    )
}

#[test]
fn a_stream_and_a_copy_are_logged_at_their_ends_too() {
    let lines = logged(Level::DEBUG, Settings::default(), async |db| {
        let mut session = db.session().await.unwrap();
        let mut rows = session.fetch_stream::<i64>("SELECT n").await.unwrap();
        while rows.next().await.unwrap().is_some() {}
        let mut rows = session.fetch_stream::<i64>("SELECT n then fails").await.unwrap();
        while let Ok(Some(_)) = rows.next().await {}
        let mut tx = session.transaction();
        let mut copy = tx.copy_out("COPY t TO STDOUT").await.unwrap();
        while copy.next().await.unwrap().is_some() {}
    });
    let ends: Vec<&String> = lines.iter().filter(|line| line.contains("the end")).collect();
    let expected = [
        end("SELECT n", "0.0", 2, "ok"),
        end("SELECT n then fails", "0.0", 2, "22012"),
        end("COPY t TO STDOUT", "2.0", 0, "ok"),
    ];
    assert_eq!(ends, expected.iter().collect::<Vec<_>>());
}

#[test]
fn no_value_is_logged_that_a_text_made_at_run_time_may_hold() {
    let lines = logged(Level::DEBUG, Settings::default(), async |db| {
        for text in
            ["SELECT 'CANARY'", "SELECT $$CANARY$$", "SELECT E'CANARY\\'', 4711", "SELECT 1 /* CANARY */"]
        {
            db.execute(Sql::new(text.to_owned())).await.unwrap();
            db.session().await.unwrap().execute(Sql::new(text.to_owned())).await.unwrap();
        }
    });
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| !line.contains("CANARY") && !line.contains("4711")), "{lines:#?}");
}

#[test]
fn a_slow_statement_is_a_warning() {
    let lines = logged(Level::WARN, Settings::default(), async |db| {
        db.execute("SELECT quick").await.unwrap();
        db.execute("SELECT slow").await.unwrap();
        db.session().await.unwrap().execute("SELECT silent").await.unwrap_err();
    });
    let [slow, silent] = &lines[..] else { panic!("{lines:#?}") };
    assert!(slow.starts_with("WARN message=a slow statement statement=\"SELECT slow\" ms=1500"), "{slow}");
    assert!(silent.ends_with("outcome=\"no answer\""), "{silent}");
}

#[test]
fn how_slow_is_slow_can_be_set() {
    let mut settings = Settings::default();
    settings.slow_statement = Duration::from_secs(2);
    let lines = logged(Level::WARN, settings, async |db| {
        db.execute("SELECT slow").await.unwrap();
    });
    assert!(lines.is_empty(), "{lines:#?}");
}
