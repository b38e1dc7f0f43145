//! Products: stored all or none, and listed page by page.

use axum::Json;
use axum::http::StatusCode;
use pgspan::{FromRow, sql};
use pgspan_http::{Db, JsonBody, Paging, Problem, Query, Writer};
use serde::{Deserialize, Serialize};

#[derive(FromRow, Serialize)]
pub(crate) struct Product {
    id: i64,
    name: String,
    cents: i64,
}

/// `next` is the `after` of the next page.
#[derive(Serialize)]
pub(crate) struct Page {
    products: Vec<Product>,
    next: Option<i64>,
}

/// `GET /products?after=…&limit=…`
pub(crate) async fn list(Db(db): Db, query: Query) -> Result<Json<Page>, Problem> {
    let paging: Paging<i64> = Paging::finish(query, 20, 100)?; // 20 unless asked for, 100 at most
    let (after, one_more) = (paging.after.unwrap_or(0), paging.one_more());
    let page = sql!("SELECT id, name, cents FROM products WHERE id > {after} ORDER BY id LIMIT {one_more}");
    let rows: Vec<Product> = db.fetch_all(page.reads_only()).await?;
    let (products, next) = paging.cut(rows, |last| last.id);
    Ok(Json(Page { products, next }))
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

/// `POST /products`
pub(crate) async fn create(
    _: Writer,
    Db(db): Db,
    JsonBody(New { products: new }): JsonBody<New>,
) -> Result<(StatusCode, Json<Page>), Problem> {
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    let mut products = Vec::new();
    for NewProduct { name, cents } in &new {
        let insert =
            sql!("INSERT INTO products (name, cents) VALUES ({name}, {cents}) RETURNING id, name, cents");
        products.push(tx.fetch_one(insert).await?);
    }
    tx.commit().await?; // what fails before this, in whatever way, stores nothing
    Ok((StatusCode::CREATED, Json(Page { products, next: None })))
}
