//! A database for an example of the documentation.

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

use pgspan_dev::{Cluster, random_hex};

/// Ends with the process; what it leaves on the disk goes with the next run's start.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A database of an example's own, with a few tables.
#[derive(Debug)]
pub struct Example {
    url: String,
}

impl Example {
    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Creates it on the server that `PGSPAN_TEST_DATABASE_URL` names (`cargo xtask test` starts one), else on one that is
/// started for the whole process.
///
/// # Errors
/// When there is no server, or it refuses.
///
/// # Cancel safety
/// Dropping the future may leave the database behind.
pub async fn example() -> Result<Example> {
    let server = match std::env::var("PGSPAN_TEST_DATABASE_URL") {
        Ok(url) => url,
        Err(_) => CLUSTER.get_or_try_init(|| Cluster::throwaway(&[])).await?.url("postgres"),
    };
    let name = format!("example_{}", random_hex(8)?);
    execute(&server, &format!("CREATE DATABASE {name}")).await?;
    let (base, rest) = server.rsplit_once("/postgres").context("the server's URL has no database")?;
    let url = format!("{base}/{name}{rest}");
    execute(&url, TABLES).await?;
    Ok(Example { url })
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await?;
    drop(client);
    connection.await??;
    Ok(())
}

const TABLES: &str = "
    CREATE TABLE users (
        id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL CONSTRAINT users_name_key UNIQUE
    );
    INSERT INTO users (name) VALUES ('Ada'), ('Grace');
    CREATE TABLE accounts (owner text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts VALUES ('Ada', 100), ('Grace', 0);
    CREATE TYPE mood AS ENUM ('happy', 'very_happy', 'sad');
    CREATE TYPE address AS (street text, city text);
    CREATE TABLE people (
        id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name    text NOT NULL,
        mood    mood NOT NULL,
        home    address,
        tags    text[] NOT NULL DEFAULT '{}',
        profile jsonb
    );
    INSERT INTO people (name, mood, home, tags) VALUES ('Ada', 'happy', ('Marylebone', 'London'), '{math}');
";
