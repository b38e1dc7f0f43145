//! axum with sqlx: a pool of 8, statements prepared by sqlx itself, a transaction awaited step by step.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

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

#[derive(Serialize, sqlx::FromRow)]
struct User {
    id: i64,
    name: String,
}

#[derive(Serialize)]
struct Users {
    users: Vec<User>,
}

type Failed = (StatusCode, String);

fn failed(error: sqlx::Error) -> Failed {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn add(State(pool): State<PgPool>, Query(Add { a, b }): Query<Add>) -> Result<Json<Sum>, Failed> {
    let sum = sqlx::query_scalar("SELECT $1::int8 + $2::int8 AS sum").bind(a).bind(b);
    let sum = sum.fetch_one(&pool).await.map_err(failed)?;
    Ok(Json(Sum { sum }))
}

async fn users(
    State(pool): State<PgPool>,
    Json(Names { names }): Json<Names>,
) -> Result<(StatusCode, Json<Users>), Failed> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let mut users = Vec::with_capacity(names.len());
    for name in names {
        let insert = sqlx::query_as::<_, User>("INSERT INTO users (name) VALUES ($1) RETURNING id, name");
        users.push(insert.bind(name).fetch_one(&mut *transaction).await.map_err(failed)?);
    }
    transaction.commit().await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(Users { users })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await?;
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/add", get(add))
        .route("/users", post(users))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(std::env::var("LISTEN_ADDR")?).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
