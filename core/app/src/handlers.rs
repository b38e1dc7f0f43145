//! The endpoints: each reads its input, calls the business code, and writes its answer.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use pgspan_http::{Db, JsonBody, Paging, Problem, Query, Writer};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::add::{Sum, sum};
use crate::users::{self, Page, User};

type Answer<T> = Result<T, Problem>;

const NAMES_MOST: usize = 100;
const NAME_CHARS_MOST: usize = 200;
const PAGE_DEFAULT: u16 = 100;
const PAGE_MOST: u16 = 1000;

pub(crate) async fn add(Db(db): Db, mut query: Query) -> Answer<Json<Sum>> {
    let (a, b) = (query.required("a")?, query.required("b")?);
    query.finish()?;
    Ok(Json(db.fetch_one(sum(&a, &b)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numbers {
    a: i64,
    b: i64,
}

pub(crate) async fn post_add(
    Db(db): Db,
    query: Query,
    JsonBody(Numbers { a, b }): JsonBody<Numbers>,
) -> Answer<Json<Sum>> {
    query.finish()?; // it has none
    Ok(Json(db.fetch_one(sum(&a, &b)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    #[serde(deserialize_with = "strings")]
    names: Vec<String>,
}

pub(crate) async fn post_users(
    _: Writer,
    Db(db): Db,
    query: Query,
    JsonBody(New { names }): JsonBody<New>,
) -> Answer<(StatusCode, Json<Stored>)> {
    query.finish()?; // it has none
    check_names(&names)?;
    let mut session = db.session().await?;
    let users = users::insert(&mut session, &names).await?;
    Ok((StatusCode::CREATED, Json(Stored { users })))
}

#[derive(Serialize)]
pub(crate) struct Stored {
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
        return Err(Problem::invalid(&format!("names[{position}]"), fault));
    }
    Ok(())
}

pub(crate) async fn list_users(Db(db): Db, query: Query) -> Answer<Json<Page>> {
    let paging = Paging::finish(query, PAGE_DEFAULT, PAGE_MOST)?;
    Ok(Json(users::list(&db, &paging).await?))
}

/// As serde reads them, but for the answer to something else: "must be an array of strings".
fn strings<'de, D: Deserializer<'de>>(given: D) -> Result<Vec<String>, D::Error> {
    struct Strings;

    impl<'de> Visitor<'de> for Strings {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of strings")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Vec<String>, A::Error> {
            let mut strings = Vec::new();
            while let Some(string) = given.next_element()? {
                strings.push(string);
            }
            Ok(strings)
        }
    }

    given.deserialize_seq(Strings)
}
