//! Each test runs on the native host and on the Worker, with a migrated database of its own.

use pgspan_dev::{Result, on_both_hosts};
use serde_json::json;

#[tokio::test]
async fn products_are_stored_all_or_none_and_listed_page_by_page() -> Result<()> {
    on_both_hosts(async |host| {
        let (tea, jam) = (json!({ "name": "tea", "cents": 450 }), json!({ "name": "jam", "cents": 380 }));
        let created = host.post("/products", &json!({ "products": [tea, jam] })).await?;
        assert_eq!(created.status, 201, "{}", created.text());
        let refused =
            host.post("/products", &json!({ "products": [{ "name": "new", "cents": 1 }, tea] })).await?;
        assert_eq!((refused.status, &refused.json()?["code"]), (409, &json!("unique_violation")));
        let (page, stored) =
            (host.get("/products?limit=1").await?.json()?, created.json()?["products"].clone());
        assert_eq!(page, json!({ "products": [stored[0]], "next": stored[0]["id"] }));
        let rest = host.get(&format!("/products?after={}", page["next"])).await?.json()?;
        assert_eq!(rest, json!({ "products": [stored[1]], "next": null }));
        Ok(())
    })
    .await
}
