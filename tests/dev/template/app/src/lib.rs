//! The service, the same on both hosts.

mod products;

use axum::Router;
use axum::routing::get;
use pgspan::{Database, sql};
use pgspan_http::{Options, service};

/// The router that both hosts serve.
pub fn router(db: Database, options: Options) -> Router {
    let routes = Router::new().route("/products", get(products::list).post(products::create));
    service(routes, db, options, || sql!("SELECT to_regclass('products') IS NOT NULL").reads_only())
}
