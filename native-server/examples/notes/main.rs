//! A service of one's own: `DATABASE_URL=postgres://… cargo run -p pgspan-server --example notes migrate`, then `… notes serve`.

use std::process::ExitCode;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use pgspan::sql;
use pgspan_http::{Db, Problem};
use pgspan_server::{migrations, program::Program};

async fn notes(Db(db): Db) -> Result<Json<Vec<String>>, Problem> {
    Ok(Json(db.fetch_all(sql!("SELECT text FROM notes ORDER BY id").reads_only()).await?))
}

async fn add(Db(db): Db, text: String) -> Result<StatusCode, Problem> {
    db.execute(sql!("INSERT INTO notes (text) VALUES ({text})")).await?;
    Ok(StatusCode::CREATED)
}

fn main() -> ExitCode {
    let program = Program::new("notes").migrations(migrations!("examples/notes/migrations"));
    program.run(async |_| Ok(Router::new().route("/notes", get(notes).post(add))))
}
