//! Each test runs on the native host and on the Worker, with a migrated database of its own.

use pgspan_dev::{Result, on_both_hosts};
use serde_json::json;

#[tokio::test]
async fn products_are_stored_all_or_none_and_listed_page_by_page() -> Result<()> {
    on_both_hosts(async |host| {
        let products = json!([{ "name": "tea", "cents": 450 }, { "name": "jam", "cents": 380 }]);
        let created = host.post("/products", &json!({ "products": products })).await?;
        assert_eq!(created.status, 201, "{}", created.text());

        let again = json!([{ "name": "new", "cents": 1 }, { "name": "tea", "cents": 450 }]);
        let refused = host.post("/products", &json!({ "products": again })).await?;
        assert_eq!((refused.status, &refused.json()?["code"]), (409, &json!("unique_violation")));

        let first = host.get("/products?limit=1").await?.json()?;
        assert_eq!((&first["products"][0]["name"], first["products"].as_array().map(Vec::len)), (&json!("tea"), Some(1)));
        let rest = host.get(&format!("/products?after={}", first["next"])).await?.json()?;
        assert_eq!(rest, json!({ "products": [created.json()?["products"][1]], "next": null }));
        Ok(())
    })
    .await
}
