//! The service on both hosts, for the same test.

use std::fmt;
use std::thread;

use anyhow::{Context as _, Result};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::project::Project;
use crate::{Edge, Native, Process, TestDatabase};

/// Runs a test on the native host, then on the Worker in Cloudflare's runtime, each with a migrated database of its own.
///
/// In a `#[tokio::test]`:
///
/// ```no_run
/// use pgspan_dev::{Result, on_both_hosts};
///
/// async fn there_are_no_products_at_first() -> Result<()> {
///     on_both_hosts(async |host| {
///         let answer = host.get("/products").await?;
///         assert_eq!(answer.status, 200);
///         assert_eq!(answer.text(), r#"{"products":[],"next":null}"#);
///         Ok(())
///     })
///     .await
/// }
/// ```
///
/// # Errors
/// The test's, naming the host; or when a host does not start. `cargo xtask test` builds both.
///
/// # Cancel safety
/// Dropping the future ends the host.
pub async fn on_both_hosts(test: impl AsyncFn(Host) -> Result<()>) -> Result<()> {
    Hosts::new().run(test).await
}

/// Both hosts, with settings of a test's own.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    settings: Vec<(String, String)>,
}

impl Hosts {
    /// With the `settings` of `[workspace.metadata.pgspan]`.
    pub fn new() -> Self {
        let settings = Project::here().about.settings.clone().into_iter().collect();
        Self { settings }
    }

    /// Sets one more, in the place of one that is there.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut hosts = self.without(name);
        hosts.settings.push((name.to_owned(), value.to_owned()));
        hosts
    }

    /// Leaves one out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.settings.retain(|(found, _)| found != name);
        self
    }

    /// Runs a test on the native host, then on the Worker.
    ///
    /// # Errors
    /// As [`on_both_hosts`].
    ///
    /// # Cancel safety
    /// As [`on_both_hosts`].
    pub async fn run(&self, test: impl AsyncFn(Host) -> Result<()>) -> Result<()> {
        for kind in [Kind::Native, Kind::Worker] {
            let host = self.start(kind).await.with_context(|| format!("starting {kind}"))?;
            let place = host.place();
            test(host).await.with_context(|| format!("on {place}"))?;
        }
        Ok(())
    }

    async fn start(&self, kind: Kind) -> Result<Host> {
        let database = TestDatabase::migrated().await?;
        let mut settings = vec![("DATABASE_URL", database.url())];
        settings.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let running = match kind {
            Kind::Native => Running::Native(Native::start(&settings).await?),
            Kind::Worker => Running::Worker(Edge::start(&settings).await?),
        };
        let client = Client::builder().no_proxy().build()?;
        Ok(Host { running, database, client })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Native,
    Worker,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "the native host",
            Self::Worker => "the Worker",
        })
    }
}

/// The service on one of the hosts, ended on drop.
#[derive(Debug)]
pub struct Host {
    running: Running, // before the database, which is removed when nothing uses it any more
    database: TestDatabase,
    client: Client,
}

#[derive(Debug)]
enum Running {
    Native(Native),
    Worker(Edge),
}

impl Host {
    /// Whether it is the Worker.
    pub fn is_worker(&self) -> bool {
        matches!(self.running, Running::Worker(_))
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        match &self.running {
            Running::Native(native) => native.url(),
            Running::Worker(edge) => edge.url(),
        }
    }

    /// Its database, to see what is stored.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Its process, to signal it or to read its log.
    pub fn process(&mut self) -> &mut Process {
        match &mut self.running {
            Running::Native(native) => native.process(),
            Running::Worker(edge) => edge.process(),
        }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// When no whole answer comes.
    ///
    /// # Cancel safety
    /// The host may have answered.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// When no whole answer comes.
    ///
    /// # Cancel safety
    /// The host may have answered, or not.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// Any other request; [`Answer::to`] sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    fn place(&self) -> String {
        let (kind, process) = match &self.running {
            Running::Native(native) => (Kind::Native, native.process_ref()),
            Running::Worker(edge) => (Kind::Worker, edge.process_ref()),
        };
        format!("{kind}, whose log is {}", process.log().display())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was on {}", self.place());
        }
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When no whole answer comes.
    ///
    /// # Cancel safety
    /// The host may have answered.
    pub async fn to(request: RequestBuilder) -> Result<Self> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Self { status, headers, body: answer.bytes().await?.to_vec() })
    }

    /// The body as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none; with the body.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// A header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
