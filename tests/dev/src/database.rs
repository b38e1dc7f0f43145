//! A database of a test's own.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, NoTls};

use crate::server::Server;

/// A database of a test's own, gone when it is dropped, a panic included.
///
/// It is on the server that `PGSPAN_TEST_DATABASE_URL` names (`cargo xtask test` starts one), else on an embedded PostgreSQL that
/// this test program starts once. A test program that is killed leaves its databases behind; the next one on that server removes
/// them.
///
/// ```no_run
/// use pgspan_dev::{Result, TestDatabase};
///
/// async fn nothing_is_stored_at_first() -> Result<()> {
///     let database = TestDatabase::migrated().await?; // for pgspan_server::connect(database.url())
///     let stored = database.connect().await?.query("SELECT FROM products", &[]).await?;
///     assert!(stored.is_empty());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct TestDatabase {
    server: &'static Server,
    name: String,
    url: String,
}

impl TestDatabase {
    /// One with the project's migrations: a copy of a database that the native program's `migrate` was run on, once for each test
    /// program.
    ///
    /// # Errors
    /// When there is no server, or the migrations fail.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the database behind, for as long as the test program runs.
    pub async fn migrated() -> Result<Self> {
        let server = Server::shared().await?;
        let template = server.template().await?;
        Self::create(server, &format!(" TEMPLATE {template}")).await
    }

    /// One with nothing in it.
    ///
    /// # Errors
    /// When there is no server.
    ///
    /// # Cancel safety
    /// As [`migrated`](Self::migrated).
    pub async fn empty() -> Result<Self> {
        Self::create(Server::shared().await?, "").await
    }

    async fn create(server: &'static Server, how: &str) -> Result<Self> {
        let name = server.new_name();
        let created = server.execute(format!("CREATE DATABASE {name}{how}")).await;
        created.context("could not create a database for the test")?;
        Ok(Self { url: server.url_of(&name)?, server, name })
    }

    /// Its `DATABASE_URL`. It holds the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it is called on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection beside the program's, to see what is stored.
    ///
    /// # Errors
    /// When the server does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // The server's connections live on a thread of their own, so waiting for it here holds up nothing that it needs.
        let (tell, told) = mpsc::channel();
        let (server, name) = (self.server, self.name.clone());
        server.spawn(async move {
            let _ = tell.send(server.execute(format!("DROP DATABASE {name} WITH (FORCE)")).await);
        });
        // PostgreSQL removes none while a client is in the middle of its login, and that client may wait for this thread.
        // Then it is removed a moment later.
        if let Ok(Err(error)) = told.recv_timeout(Duration::from_secs(5)) {
            eprintln!("the test's database {} could not be removed: {error:#}", self.name);
        }
    }
}
