use std::time::Duration;

use tokio::time::timeout;

use super::apply::{TURN, begin};
use super::*;

#[test]
fn a_migrations_checksum_does_not_depend_on_line_ends() {
    assert_eq!(digest("a\r\nb"), digest("a\nb"));
    assert_ne!(digest("a\nb"), digest("a b"));
}

#[test]
fn migrations_are_applied_in_order_and_no_version_twice() {
    let one = |version| Migration { version, name: "", sql: "" };
    let order = [one(2), one(1)];
    let versions: Vec<i64> = in_order(&order).unwrap().iter().map(|migration| migration.version).collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(in_order(&[one(1), one(1)]).unwrap_err().kind(), Kind::Config);
}

#[tokio::test]
async fn whoever_waits_for_another_migration_waits_no_longer_than_it_may() {
    let cluster = ::tests::Cluster::throwaway(&[]).await.unwrap();
    let url = cluster.url("postgres");
    let url = url.parse().unwrap();
    let (running, waiting) = (connect(&url).await.unwrap(), connect(&url).await.unwrap());
    begin(&running, TURN).await.unwrap();
    let waited = timeout(Duration::from_secs(5), begin(&waiting, Duration::from_millis(300))).await.unwrap();
    let error = waited.unwrap_err();
    assert_eq!(error.to_string(), "another migration is running, and was for 0 s: run it again");
    assert_eq!(error.kind(), Kind::Unavailable);
}
