//! axum with deadpool-postgres: a pool of 8, a statement prepared once per connection, a transaction awaited step by step.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;

#[derive(Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

#[derive(Deserialize)]
struct Names {
    names: Vec<String>,
}

#[derive(Serialize)]
struct User {
    id: i64,
    name: String,
}

#[derive(Serialize)]
struct Users {
    users: Vec<User>,
}

type Failed = (StatusCode, String);

fn failed(error: impl std::fmt::Display) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn add(State(pool): State<Pool>, Query(Add { a, b }): Query<Add>) -> Result<Json<Sum>, Failed> {
    let client = pool.get().await.map_err(failed)?;
    let statement = client.prepare_cached("SELECT $1::int8 + $2::int8 AS sum").await.map_err(failed)?;
    let row = client.query_one(&statement, &[&a, &b]).await.map_err(failed)?;
    Ok(Json(Sum { sum: row.get(0) }))
}

async fn users(
    State(pool): State<Pool>,
    Json(Names { names }): Json<Names>,
) -> Result<(StatusCode, Json<Users>), Failed> {
    let mut client = pool.get().await.map_err(failed)?;
    let transaction = client.transaction().await.map_err(failed)?;
    let insert = "INSERT INTO users (name) VALUES ($1) RETURNING id, name";
    let statement = transaction.prepare_cached(insert).await.map_err(failed)?;
    let mut users = Vec::with_capacity(names.len());
    for name in names {
        let row = transaction.query_one(&statement, &[&name]).await.map_err(failed)?;
        users.push(User { id: row.get(0), name: row.get(1) });
    }
    transaction.commit().await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(Users { users })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = std::env::var("DATABASE_URL")?.parse()?;
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let pool = Pool::builder(Manager::from_config(config, NoTls, manager)).max_size(8).build()?;
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/add", get(add))
        .route("/users", post(users))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(std::env::var("LISTEN_ADDR")?).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
