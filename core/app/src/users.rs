//! Users: stored all or none, and listed page by page.

use pgspan::{Database, FromRow, Result, Session, Sql, sql};
use pgspan_http::Paging;
use serde::Serialize;

/// A user, as row and as JSON.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct User {
    /// Given by the database, growing.
    pub id: i64,
    /// Unique.
    pub name: String,
}

/// Some users, and where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// In the order of their ids.
    pub users: Vec<User>,
    /// The `after` of the next page; `None` on the last.
    pub next: Option<i64>,
}

/// Stores users, all or none, in one statement and one round trip; the answer is in the order of the names.
///
/// One statement for any number of names, rather than a transaction of as many: the server reads and plans it once.
///
/// # Errors
///
/// A name that exists is a unique violation of `users_name_key`, and none is stored then. Otherwise as
/// [`pgspan::Batch`].
///
/// # Cancel safety
///
/// All are stored or none.
pub async fn insert(session: &mut Session, names: &[String]) -> Result<Vec<User>> {
    let insert = sql!("INSERT INTO users (name) SELECT unnest({names}::text[]) RETURNING id, name");
    // a batch, since behind a pooler the timeouts must travel with it
    let mut stored: Vec<User> = session.batch([insert]).atomic().await?.fetch_all(0)?;
    // the server promises no order; that of the names is at hand, since each is there once
    let mut users = Vec::with_capacity(stored.len());
    for name in names {
        let place = stored.iter().position(|user| user.name == *name);
        users.extend(place.map(|place| stored.remove(place)));
    }
    users.append(&mut stored); // what a trigger stored under another name
    Ok(users)
}

/// A page of the users, by their ids.
///
/// # Errors
///
/// As [`Database::fetch_all`].
///
/// # Cancel safety
///
/// It only reads.
pub async fn list(db: &Database, paging: &Paging<i64>) -> Result<Page> {
    let (after, one_more) = (paging.after.unwrap_or(0), paging.one_more());
    let page =
        sql!("SELECT id, name FROM users WHERE id > {after} ORDER BY id LIMIT {one_more}").reads_only();
    let (users, next) = paging.cut(db.fetch_all(page).await?, |last: &User| last.id);
    Ok(Page { users, next })
}

/// The statement that asks whether the schema is there: `true` or `false`.
pub fn schema_exists() -> Sql<'static> {
    sql!("SELECT to_regclass('users') IS NOT NULL").reads_only()
}
