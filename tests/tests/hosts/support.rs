//! A database for a test, a host on it, and requests to it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::{Edge, Native, PgBouncer, TestDatabase};
use tokio_postgres::{Client, NoTls};

/// The token of hosts that have one.
pub(crate) const TOKEN: &str = "s3cr3t-CANARY-0123456789";

/// Which of the two hosts, and how the second reaches PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Native,
    /// The Worker with a connection for each request.
    Socket,
    /// The Worker with its Durable Object.
    Pool,
    /// The Worker with a Hyperdrive binding, to PgBouncer in transaction mode in the place of Cloudflare's pool.
    Hyperdrive,
    /// The native host through PgBouncer in transaction mode.
    NativeBouncer,
    /// The Worker with a connection for each request, through PgBouncer in transaction mode.
    SocketBouncer,
}

/// A running host with a database of its own.
pub(crate) struct Host {
    running: Running,
    _bouncer: Option<PgBouncer>,
    pub(crate) database: Database,
    http: reqwest::Client,
}

enum Running {
    Native(Native),
    Edge(Edge),
}

impl Host {
    /// A host on a migrated database, with the write token.
    pub(crate) async fn start(kind: Kind) -> Result<Host> {
        Host::with(kind, Database::migrated().await?, &[("API_TOKEN", TOKEN)]).await
    }

    /// A host on this database with these settings, `DATABASE_URL` aside.
    pub(crate) async fn with(kind: Kind, database: Database, settings: &[(&str, &str)]) -> Result<Host> {
        let mut all = vec![("DATABASE_URL", database.url.as_str())];
        all.retain(|(name, _)| !settings.iter().any(|(given, _)| given == name));
        all.extend_from_slice(settings);
        let bouncer = match kind {
            Kind::NativeBouncer | Kind::SocketBouncer | Kind::Hyperdrive => {
                PgBouncer::before(&database.url).await?
            }
            _ => None,
        };
        let bounced = bouncer.as_ref().map(|bouncer| bouncer.url(&database.name));
        if let Some(url) = &bounced {
            all.retain(|(name, _)| *name != "DATABASE_URL");
            match kind {
                Kind::Hyperdrive => all.push(("HYPERDRIVE", url)),
                _ => all.extend_from_slice(&[("DATABASE_URL", url), ("DATABASE_POOLER", "transaction")]),
            }
        }
        let connect = match kind {
            Kind::Native | Kind::NativeBouncer => None,
            Kind::Socket | Kind::SocketBouncer => Some("socket"),
            Kind::Pool => Some("pool"),
            Kind::Hyperdrive => Some("hyperdrive"),
        };
        let running = match connect {
            None => Running::Native(Native::start(&all).await?),
            Some(connect) => {
                all.push(("PGSPAN_CONNECT", connect));
                Running::Edge(Edge::start(&all).await?)
            }
        };
        Ok(Host {
            running,
            _bouncer: bouncer,
            database,
            http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?,
        })
    }

    pub(crate) fn url(&self) -> String {
        match &self.running {
            Running::Native(native) => native.url(),
            Running::Edge(edge) => edge.url(),
        }
    }

    /// What it wrote to its log so far.
    pub(crate) fn log(&mut self) -> Result<String> {
        let process = match &mut self.running {
            Running::Native(native) => native.process(),
            Running::Edge(edge) => edge.process(),
        };
        Ok(std::fs::read_to_string(process.log())?)
    }

    /// How much memory its process has, in KiB.
    pub(crate) fn memory(&mut self) -> Result<u64> {
        let process = match &mut self.running {
            Running::Native(native) => native.process(),
            Running::Edge(edge) => edge.process(),
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).context("no VmRSS")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url()))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Posts JSON with the token.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<Answer> {
        let request = self.request(Method::POST, path).bearer_auth(TOKEN);
        Answer::of(request.header("content-type", "application/json").body(body)).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Status and body, of a success.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status.as_u16(), self.text().as_str()), (status, body));
    }

    /// Status and code, of a problem in the form that the contract gives it.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json().unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        problem
    }
}

/// A database of one test's own.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    _own: Option<TestDatabase>,
}

impl Database {
    pub(crate) async fn empty() -> Result<Database> {
        Ok(Database::of(TestDatabase::empty().await?))
    }

    pub(crate) async fn migrated() -> Result<Database> {
        Ok(Database::of(TestDatabase::migrated().await?))
    }

    /// One that somebody else made, or that is not there.
    pub(crate) fn at(url: impl Into<String>, name: &str) -> Database {
        Database { url: url.into(), name: name.to_owned(), _own: None }
    }

    fn of(own: TestDatabase) -> Database {
        Database { url: own.url().to_owned(), name: own.name().to_owned(), _own: Some(own) }
    }

    pub(crate) fn migrate(&self) -> Result<()> {
        let output =
            Command::new(Native::program()).arg("migrate").env("DATABASE_URL", &self.url).output()?;
        ensure!(output.status.success(), "migrate: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// A connection beside the host's, to see what is really there.
    pub(crate) async fn connect(&self) -> Result<Client> {
        connect(&self.url).await
    }

    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        let rows = self.connect().await?.query("SELECT name FROM users ORDER BY id", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The states of the connections that hosts have to this database.
    pub(crate) async fn states(&self) -> Result<Vec<String>> {
        let query = "SELECT coalesce(state, '') FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() \
                     AND application_name = 'pgspan'";
        let rows = self.connect().await?.query(query, &[&self.name]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Asks again until it is so, at most ten seconds.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..100 {
        if is_so().await? {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("it never came to be: {what}")
}
