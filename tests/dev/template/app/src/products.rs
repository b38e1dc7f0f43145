//! Products: stored all or none, and listed page by page.

use axum::Json;
use axum::http::StatusCode;
use pgspan::{FromRow, sql};
use pgspan_http::{Db, JsonBody, Problem, Query, Writer};
use serde::{Deserialize, Serialize};

#[derive(FromRow, Serialize)]
pub(crate) struct Product {
    id: i64,
    name: String,
    cents: i64,
}

#[derive(Serialize)]
pub(crate) struct Page {
    products: Vec<Product>,
    /// The `after` of the next page.
    next: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    products: Vec<NewProduct>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProduct {
    name: String,
    cents: i64,
}

/// `GET /products?after=…&limit=…`
pub(crate) async fn list(Db(db): Db, mut query: Query) -> Result<Json<Page>, Problem> {
    let (after, limit) = (query.optional("after")?.unwrap_or(0_i64), query.optional("limit")?.unwrap_or(20_u16));
    query.finish()?;
    let page = sql!("SELECT id, name, cents FROM products WHERE id > {after} ORDER BY id LIMIT {limit}::integer");
    let products: Vec<Product> = db.fetch_all(page.reads_only()).await?;
    let next = products.last().filter(|_| products.len() == usize::from(limit)).map(|last| last.id);
    Ok(Json(Page { products, next }))
}

/// `POST /products`
pub(crate) async fn create(
    _: Writer,
    Db(db): Db,
    JsonBody(new): JsonBody<New>,
) -> Result<(StatusCode, Json<Page>), Problem> {
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    let mut products = Vec::new();
    for NewProduct { name, cents } in &new.products {
        let insert = sql!("INSERT INTO products (name, cents) VALUES ({name}, {cents}) RETURNING id, name, cents");
        products.push(tx.fetch_one(insert).await?);
    }
    tx.commit().await?; // what fails before this, in whatever way, stores nothing
    Ok((StatusCode::CREATED, Json(Page { products, next: None })))
}
