//! What everyone is measured on: one PostgreSQL, one database, and PgBouncer before it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ::tests::{Cluster, PgBouncer, root};
use anyhow::{Context as _, Result};
use tokio_postgres::NoTls;

use crate::cpu;

/// The database everyone uses.
pub(crate) const DATABASE: &str = "bench";

/// A private PostgreSQL with the application's tables.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// The database everyone uses.
    pub(crate) url: String,
    admin: tokio_postgres::Client,
    /// Before it, where it is installed and someone asked for it.
    pub(crate) pooler: Option<PgBouncer>,
}

impl Stage {
    /// Starts it.
    pub(crate) async fn set() -> Result<Self> {
        // Room for a connection per request at 64 clients; else as the bed has it, which does not wait for the disk.
        let cluster = Cluster::throwaway(&[("max_connections", "300")]).await?;
        let url = database(&cluster, DATABASE).await?;
        let admin = connect(&url).await?;
        Ok(Self { cluster, url, admin, pooler: None })
    }

    /// A database of its own with the same tables, for what counts connections.
    pub(crate) async fn other_database(&self, name: &str) -> Result<String> {
        database(&self.cluster, name).await
    }

    /// Forgets what is stored, so that everyone writes into the same empty table.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.admin.batch_execute("TRUNCATE users RESTART IDENTITY").await.context("could not clear the table")
    }

    /// How many connections a database has now.
    pub(crate) async fn connections(&self, database: &str) -> Result<i64> {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        Ok(self.admin.query_one(count, &[&database]).await?.get(0))
    }

    /// Seconds that the server, and PgBouncer before it, have computed so far.
    pub(crate) fn computed(&mut self) -> f64 {
        let server = self.cluster.process().map(|process| process.id());
        let pooler = self.pooler.as_ref().map(|pooler| pooler.process_id());
        [server, pooler].into_iter().flatten().filter_map(cpu::tree).sum()
    }

    pub(crate) async fn version(&self) -> Result<String> {
        Ok(self.admin.query_one("SHOW server_version", &[]).await?.get(0))
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Creates a database and applies the migrations.
async fn database(cluster: &Cluster, name: &str) -> Result<String> {
    let url = cluster.create_database(name).await?;
    let client = connect(&url).await?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("migrations"))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "sql")) {
        let sql = fs::read_to_string(file)?;
        client.batch_execute(&sql).await.with_context(|| format!("could not apply {}", file.display()))?;
    }
    Ok(url)
}

/// What a program calls itself, if it is there.
pub(crate) fn version(program: &str) -> Option<String> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}
