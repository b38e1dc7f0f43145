//! The ways into a Worker: pgspan's `entry.mjs`, the same with answers of one's own, and the program alone.
//!
//! The entry dropped what it did not know (a schedule, an object of one's own, an alarm of the pool's object), and answered a request
//! that never reached its object as if it had. Siblings that were looked for: each kind of failure of an object, of a read and of a
//! write, with the entry and in Rust; rejections that are no errors; each kind of event (a queue, a message on a WebSocket); settings that say where requests go, as text and as numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tests::{Edge, Launch, Main};

use crate::kept::Kept;
use crate::support::{Answer, Database, eventually};

/// With the entry, and without it.
const MAINS: [Main<'_>; 2] = [Main::Entry, Main::Program];

struct Bed {
    edge: Edge,
    database: Database,
    http: reqwest::Client,
}

impl Bed {
    async fn start(launch: Launch<'_>) -> Result<Bed> {
        let database = Database::empty().await?;
        database.connect().await?.batch_execute("CREATE TABLE noted (what text)").await?;
        let settings = [launch.settings, &[("DATABASE_URL", database.url.as_str())]].concat();
        let edge = Launch { worker: Some("tests/worker"), settings: &settings, ..launch }.start().await?;
        Ok(Bed { edge, database, http: reqwest::Client::builder().no_proxy().build()? })
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        Answer::of(self.http.get(self.edge.url() + path)).await
    }

    async fn noted(&self) -> Result<Vec<String>> {
        let rows = self.database.connect().await?.query("SELECT what FROM noted", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

#[tokio::test]
async fn a_worker_of_somebody_else_works_with_the_entry_and_without_it() -> Result<()> {
    for main in MAINS {
        for connect in ["pool", "socket"] {
            let bed =
                Bed::start(Launch { main, settings: &[("PGSPAN_CONNECT", connect)], ..Launch::default() })
                    .await?;
            let mut backends = Vec::new();
            for _ in 0..5 {
                let answer = bed.get("/backend").await?;
                assert_eq!(answer.status, 200, "{main:?} {connect}: {}", answer.text());
                backends.push(answer.text());
            }
            backends.dedup();
            assert_eq!(
                backends.len(),
                if connect == "pool" { 1 } else { 5 },
                "{main:?} {connect}: {backends:?}"
            );
            let answer = bed.http.post(bed.edge.url() + "/all").body("a body");
            assert_eq!(Answer::of(answer).await?.text(), "6", "{main:?} {connect}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_alarm_of_the_pool_s_object_uses_the_pool() -> Result<()> {
    for main in MAINS {
        let bed = Bed::start(Launch { main, alarms: true, ..Launch::default() }).await?;
        let backend = bed.get("/backend").await?.text();
        bed.get("/set-alarm").await?;
        eventually("the alarm is noted", async || Ok(bed.noted().await? == ["alarm"])).await?;
        assert_eq!(bed.get("/backend").await?.text(), backend, "{main:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_else_the_program_has_is_let_through() -> Result<()> {
    const WITH: &str = r#"
import entry from "./entry.mjs";
export * from "./entry.mjs";
const scheduled = (event, env, ctx) => entry.scheduled(event, env, ctx);
"#;
    const WITHOUT: &str = r#"
import Program from "./build/index.js";
export * from "./build/index.js";
const entry = { fetch: (request, env, ctx) => new Program(ctx, env).fetch(request) };
const scheduled = (event, env, ctx) => new Program(ctx, env).scheduled(event);
"#;
    const REST: &str = r#"
export default {
  async fetch(request, env, ctx) {
    const { pathname, search } = new URL(request.url);
    if (pathname === "/other" && !search) return env.Other.get(env.Other.idFromName("pool-0")).fetch(request);
    if (pathname !== "/scheduled") return entry.fetch(request, env, ctx);
    await scheduled({ type: "scheduled", cron: "7 * * * *", scheduledTime: Date.now() }, env, ctx);
    return new Response("done");
  },
};
"#;
    for front in [WITH, WITHOUT] {
        let text = format!("{front}{REST}");
        let launch = Launch { main: Main::Module(&text), objects: &["Other"], ..Launch::default() };
        let other = Database::empty().await?;
        let settings = [("PGSPAN_CONNECT", "socket"), ("OTHER_URL", other.url.as_str())];
        let bed = Bed::start(Launch { settings: &settings, ..launch }).await?;
        // an object of one's own, on a second database whose URL is a secret: sent to by JavaScript, and by the program
        for _ in 0..2 {
            assert_eq!(bed.get("/other").await?.text(), other.name, "{front}");
            assert_eq!(bed.get("/other?by=program").await?.text(), other.name, "{front}");
        }
        assert_eq!(other.states().await?.len(), 1, "{front}: the connection is kept");
        assert_eq!(bed.get("/scheduled").await?.text(), "done", "{front}");
        assert_eq!(bed.noted().await?, ["7 * * * *"], "{front}");
        eventually("its connection is closed", async || Ok(bed.database.states().await?.is_empty())).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_queue_and_a_websocket_use_the_database_and_give_it_back() -> Result<()> {
    const WITH: &str = r#"
import entry from "./entry.mjs";
export * from "./entry.mjs";
const { fetch: ask, queue } = entry;
"#;
    const WITHOUT: &str = r#"
import Program from "./build/index.js";
export * from "./build/index.js";
const ask = (request, env, ctx) => new Program(ctx, env).fetch(request);
const queue = (batch, env, ctx) => new Program(ctx, env).queue(batch);
"#;
    const REST: &str = r#"
const message = (body, id) => ({ id, body, timestamp: new Date(), attempts: 1, ack() {}, retry() {} });
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/queue") {
      const messages = ["one", "two"].map(message);
      await queue({ queue: "notes", messages, ackAll() {}, retryAll() {} }, env, ctx);
      return new Response("done");
    }
    if (pathname !== "/socket") return ask(request, env, ctx);
    const { webSocket } = await ask(new Request(request.url, { headers: { upgrade: "websocket" } }), env, ctx);
    webSocket.accept();
    const answer = new Promise((heard) => webSocket.addEventListener("message", ({ data }) => heard(data)));
    webSocket.send("told");
    try {
      return new Response(await answer);
    } finally {
      webSocket.close();
    }
  },
};
"#;
    for front in [WITH, WITHOUT] {
        let text = format!("{front}{REST}");
        let bed = Bed::start(Launch { main: Main::Module(&text), ..Launch::default() }).await?;
        let backend = bed.get("/backend").await?.text();
        for _ in 0..2 {
            assert_eq!(bed.get("/socket").await?.text(), backend, "{front}: a connection of the pool");
        }
        assert_eq!(bed.noted().await?, ["told", "told"], "{front}");
        assert_eq!(bed.get("/queue").await?.text(), "done", "{front}");
        assert_eq!(bed.noted().await?, ["told", "told", "one", "two"], "{front}");
        let only_the_pool_s = async || Ok(bed.database.states().await?.len() == 1);
        eventually("the queue's connections are closed", only_the_pool_s).await?;
    }
    Ok(())
}

/// In front of either, a pool whose objects fail as a header says, and tells what it was asked.
const FAILING: &str = r#"
let asked = [];
const errors = {
  overloaded: () => Object.assign(new Error("too much queued"), { overloaded: true }),
  both: () => Object.assign(new Error("too much queued"), { overloaded: true, retryable: true }),
  retryable: () => Object.assign(new Error("a network was lost"), { retryable: true }),
  panic: () => new Error("pgspan: a panic"),
  lost: () => new Error("the object was reset"),
  text: () => "text",
  null: () => null,
  undefined: () => undefined,
  number: () => 7,
};
class DurableObjectNamespace {
  idFromName(name) { return { name, toString: () => name }; }
  get(id, options) {
    return { fetch: async (request) => {
      asked.push([id.name, options?.locationHint ?? null]);
      const fault = request.headers.get("x-fault");
      if (fault === "once" && asked.length > 1) return new Response("at the second time");
      throw (errors[fault] ?? errors.retryable)();
    } };
  }
}
const POOL = new DurableObjectNamespace();
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/livez") return new Response("alive");
    if (pathname === "/asked") { const all = asked; asked = []; return Response.json(all); }
    return answer(request, { ...env, POOL }, ctx);
  },
};
"#;
const ENTRY: &str = r#"
import entry from "./entry.mjs";
export * from "./entry.mjs";
const answer = entry.fetch;
"#;
const OWN_ANSWERS: &str = r#"
import { entry } from "./entry.mjs";
export * from "./entry.mjs";
const answer = entry(({ code }, { method }) => new Response(`${method}: ${code}`, { status: 418 })).fetch;
"#;
const RUST: &str = r#"
import Program from "./build/index.js";
export * from "./build/index.js";
const answer = (request, env, ctx) => new Program(ctx, env).fetch(request);
"#;

impl Bed {
    async fn failing(front: &str, settings: &[(&str, &str)]) -> Result<Bed> {
        let text = format!("{front}{FAILING}");
        Bed::start(Launch { main: Main::Module(&text), settings, ..Launch::default() }).await
    }

    /// The answer, and the objects that were asked, each with where it was to be.
    async fn fail(&self, method: &str, fault: &str) -> Result<(Answer, Vec<(String, Option<String>)>)> {
        let request = self.http.request(method.parse()?, self.edge.url() + "/x").header("x-fault", fault);
        let answer = Answer::of(request.header("x-request-id", "given-1")).await?;
        let asked: Value = self.get("/asked").await?.json()?;
        Ok((answer, serde_json::from_value(asked)?))
    }
}

#[tokio::test]
async fn what_an_object_did_not_answer_is_told_as_it_is() -> Result<()> {
    for front in [ENTRY, RUST] {
        let bed = Bed::failing(front, &[]).await?;
        for (fault, read, write) in [
            ("overloaded", (503, "unavailable", 1), (503, "unavailable", 1)),
            ("both", (503, "unavailable", 1), (503, "unavailable", 1)),
            ("retryable", (503, "unavailable", 2), (503, "commit_outcome_unknown", 1)),
            ("panic", (500, "internal", 1), (500, "internal", 1)),
            ("lost", (503, "unavailable", 1), (503, "commit_outcome_unknown", 1)),
            ("text", (503, "unavailable", 1), (503, "commit_outcome_unknown", 1)),
            ("null", (503, "unavailable", 1), (503, "commit_outcome_unknown", 1)),
            ("undefined", (503, "unavailable", 1), (503, "commit_outcome_unknown", 1)),
            ("number", (503, "unavailable", 1), (503, "commit_outcome_unknown", 1)),
        ] {
            for (method, (status, code, times)) in [("GET", read), ("POST", write), ("DELETE", write)] {
                let (answer, asked) = bed.fail(method, fault).await?;
                let problem = answer.is_problem(status, code);
                assert_eq!(asked.len(), times, "{method} {fault}: {problem}");
                assert_eq!(problem["request_id"], "given-1", "{method} {fault}");
                let may_repeat = code == "unavailable";
                assert_eq!(problem["retryable"], may_repeat, "{method} {fault}: {problem}");
                assert_eq!(
                    answer.header("retry-after"),
                    if may_repeat { "1" } else { "" },
                    "{method} {fault}"
                );
            }
            let (head, _) = bed.fail("HEAD", fault).await?;
            assert_eq!(head.status, read.0, "HEAD {fault}");
        }
        let (answer, asked) = bed.fail("GET", "once").await?;
        assert_eq!((answer.status.as_u16(), asked.len()), (200, 2), "{}", answer.text());
        assert_eq!(answer.text(), "at the second time");
    }
    // and what they leave of a request's body does not break its connection
    for front in [ENTRY, RUST] {
        let bed = Bed::failing(front, &[]).await?;
        let mut kept = Kept::to(bed.edge.port()).await?;
        for number in 0..60 {
            let body = vec![b'b'; [10, 200_000, 600_000][number % 3]];
            let answer = kept.ask("POST", "/x", "x-fault: overloaded\r\n", &body).await;
            let answer = answer.map_err(|error| error.context(format!("{number}: {front}")))?;
            assert_eq!(answer.status, 503, "{number}: {front}");
        }
    }
    let bed = Bed::failing(OWN_ANSWERS, &[]).await?;
    for (method, text) in [("GET", "GET: unavailable"), ("POST", "POST: commit_outcome_unknown")] {
        let (answer, _) = bed.fail(method, "lost").await?;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (418, text));
    }
    Ok(())
}

#[tokio::test]
async fn the_place_is_part_of_an_object_s_name_and_nonsense_leads_to_few() -> Result<()> {
    for front in [ENTRY, RUST] {
        for (shards, place, names, hint) in [
            ("", "", &["pool-0"][..], None),
            ("2", "weur", &["pool-weur-0", "pool-weur-1"], Some("weur")),
            ("json:2", "enam", &["pool-enam-0", "pool-enam-1"], Some("enam")),
        ] {
            let expected = names.iter().map(|name| ((*name).to_owned(), hint.map(str::to_owned)));
            assert_eq!(asked(front, shards, place).await?, expected.collect(), "{shards} {place}: {front}");
        }
        for (shards, place) in [
            ("three", ""),
            ("-2", "json:true"),
            ("json:1e9", ""),
            ("json:[2]", "json:[\"weur\"]"),
            ("2", "nowhere"),
        ] {
            let asked = asked(front, shards, place).await?;
            assert!(asked.len() <= 2, "{shards} {place}: {asked:?}");
        }
    }
    Ok(())
}

/// The objects that thirty requests went to, and where they were to be.
async fn asked(front: &str, shards: &str, place: &str) -> Result<BTreeSet<(String, Option<String>)>> {
    let bed = Bed::failing(front, &[("POOL_SHARDS", shards), ("POOL_LOCATION_HINT", place)]).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..30 {
        seen.extend(bed.fail("POST", "lost").await?.1);
    }
    Ok(seen)
}

/// In front of either, a context that counts what the runtime was asked to wait for.
const COUNTING: &str = r#"
let waits = 0;
export default {
  async fetch(request, env, ctx) {
    if (new URL(request.url).pathname === "/waits") return new Response(String(waits));
    const counting = {
      waitUntil(promise) {
        waits += 1;
        ctx.waitUntil(promise.finally(() => (waits -= 1)));
      },
    };
    return answer(request, env, counting);
  },
};
"#;

#[tokio::test]
async fn the_runtime_is_asked_to_wait_for_a_request_though_its_client_may_hang_up() -> Result<()> {
    for (front, expected) in [(ENTRY, "2"), (RUST, "1")] {
        let text = format!("{front}{COUNTING}");
        let settings =
            [("PGSPAN_CONNECT", "socket"), ("STATEMENT_TIMEOUT_MS", "60000"), ("LOCK_TIMEOUT_MS", "60000")];
        let bed = Bed::start(Launch { main: Main::Module(&text), settings: &settings, ..Launch::default() })
            .await?;
        let waits = async |expected: &str| Ok(bed.get("/waits").await?.text() == expected);
        let locked = bed.database.connect().await?;
        locked.execute("SELECT pg_advisory_lock(1)", &[]).await?;
        let answered = tokio::time::timeout(Duration::from_millis(700), bed.get("/wait")).await;
        assert!(answered.is_err(), "it waits for the lock, and its client hangs up");
        eventually("the runtime waits", async || waits(expected).await).await?;
        locked.execute("SELECT pg_advisory_unlock(1)", &[]).await?;
        eventually("it waits no more", async || waits("0").await).await?;
        eventually("its connection is closed", async || Ok(bed.database.states().await?.is_empty())).await?;
    }
    Ok(())
}
