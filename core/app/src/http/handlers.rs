//! The endpoints: each reads its input, calls the business code, and writes its answer.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Body};
use pgspan::Database;
use serde::{Deserialize, Serialize};

use super::App;
use super::input::{Query, json, read_body};
use super::problem::Problem;
use crate::add::{Sum, sum};
use crate::users::{self, Page, User};

type Answer<T> = Result<T, Problem>;

const NAMES_MOST: usize = 100;
const NAME_CHARS_MOST: usize = 200;
const PAGE_DEFAULT: u16 = 100;
const PAGE_MOST: u16 = 1000;

pub(super) async fn add(Extension(db): Extension<Database>, uri: Uri) -> Answer<Json<Sum>> {
    let mut query = Query::parse(&uri)?;
    let (a, b) = (query.required("a")?, query.required("b")?);
    query.finish()?;
    Ok(Json(db.fetch_one(sum(&a, &b)).await?))
}

pub(super) async fn post_add(
    State(app): State<Arc<App>>,
    Extension(db): Extension<Database>,
    request: Request,
) -> Answer<Json<Sum>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Numbers {
        a: i64,
        b: i64,
    }
    app.options.writes.check_form(&request)?;
    let body = read_body(&db, request).await?;
    let Numbers { a, b } = json(&body)?;
    Ok(Json(db.fetch_one(sum(&a, &b)).await?))
}

pub(super) async fn post_users(
    State(app): State<Arc<App>>,
    Extension(db): Extension<Database>,
    request: Request,
) -> Answer<(StatusCode, Json<Stored>)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct New {
        names: Vec<String>,
    }
    app.options.writes.check_form(&request)?;
    app.options.writes.check_token(request.headers())?;
    let body = read_body(&db, request).await?;
    let New { names } = json(&body)?;
    check_names(&names)?;
    let mut session = db.session().await?;
    let users = users::insert(&mut session, &names).await?;
    Ok((StatusCode::CREATED, Json(Stored { users })))
}

#[derive(Serialize)]
pub(super) struct Stored {
    users: Vec<User>,
}

fn check_names(names: &[String]) -> Answer<()> {
    if names.is_empty() || names.len() > NAMES_MOST {
        return Err(Problem::invalid("names", format_args!("must hold 1 to {NAMES_MOST} names")));
    }
    for (position, name) in names.iter().enumerate() {
        let fault = match name.chars().count() {
            _ if name.trim().is_empty() => "must not be blank",
            chars if chars > NAME_CHARS_MOST => "must have at most 200 characters",
            _ if name.contains('\0') => "must not contain U+0000, which PostgreSQL can't store",
            _ => continue,
        };
        return Err(Problem::invalid(&format!("names[{position}]"), format_args!("{fault}")));
    }
    Ok(())
}

pub(super) async fn list_users(Extension(db): Extension<Database>, uri: Uri) -> Answer<Json<Page>> {
    let mut query = Query::parse(&uri)?;
    let (limit, after) = (query.optional("limit")?, query.optional("after")?);
    query.finish()?;
    let limit = match limit.map(u16::try_from) {
        None => PAGE_DEFAULT,
        Some(Ok(limit @ 1..=PAGE_MOST)) => limit,
        Some(_) => return Err(Problem::invalid("limit", format_args!("must be from 1 to {PAGE_MOST}"))),
    };
    Ok(Json(users::list(&db, after.unwrap_or(0), limit).await?))
}

/// Alive: this process answers.
pub(super) async fn livez() -> Response<Body> {
    Json(serde_json::json!({ "status": "live" })).into_response()
}

/// Ready: see [`Readiness`](super::readiness::Readiness).
pub(super) async fn readyz(
    State(app): State<Arc<App>>,
    Extension(db): Extension<Database>,
) -> Answer<Response<Body>> {
    app.readiness.ask(&db).await?;
    Ok(Json(serde_json::json!({ "status": "ready" })).into_response())
}
