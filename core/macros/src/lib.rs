//! The macros of pgspan: `sql!` and the derives; and the native host's `migrations!`.
//!
//! Use them through `pgspan`, and the last one through `pgspan_server`; what they expand to names these. Each macro is
//! one file: [`sql!`] in `sql.rs` (the reading of SQL text is `pgspan-scan`'s), [`FromRow`](macro@FromRow) in
//! `from_row.rs`, [`Enum`](macro@Enum) in `enumeration.rs`, [`Composite`](macro@Composite) in `composite.rs`,
//! [`migrations!`] in `migrations.rs`.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![cfg_attr(not(test), warn(clippy::string_slice, clippy::panic))]

mod attributes;
mod case;
mod composite;
mod enumeration;
mod from_row;
mod migrations;
mod sql;

use proc_macro::TokenStream;

/// A statement whose parameters are the variables it names.
///
/// ```
/// # use pgspan::sql;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let example = tests::example().await?;
/// # let db = pgspan_server::connect(example.url()).await?;
/// # let mut session = db.session().await?;
/// let (a, b) = (1_i64, 2_i64);
/// let total: i64 = session.fetch_one(sql!("SELECT {a} + {b} AS sum")).await?;
/// assert_eq!(total, 3);
/// # Ok(())
/// # }
/// ```
///
/// A name in braces becomes a parameter (`$1`, `$2`, …; one per distinct name, numbered by first appearance),
/// and the variable of that name its value. Values never become part of the text, so there is nothing to
/// quote. A value that isn't a variable is named, as in `format!`:
///
/// ```
/// # use pgspan::sql;
/// # struct User { name: &'static str }
/// # let user = User { name: "Bob" };
/// let insert = sql!("INSERT INTO users(name) VALUES ({name})", name = user.name);
/// assert_eq!(insert.text(), "INSERT INTO users(name) VALUES ($1)");
/// ```
///
/// Several literals are one text:
///
/// ```
/// # use pgspan::sql;
/// let id = 1_i64;
/// let one = sql!("SELECT id, name " "FROM users WHERE id = {id}");
/// assert_eq!(one.text(), "SELECT id, name FROM users WHERE id = $1");
/// ```
///
/// The macro yields a `pgspan::Sql` that borrows the values: to keep it in a variable, keep computed values in
/// variables too.
///
/// # What is left alone
///
/// Braces mean a parameter only where PostgreSQL could read one. Strings (`'…'`, `E'…'`, `B'…'`, `X'…'`,
/// `N'…'`, `U&'…'`), quoted identifiers, `--` and `/* */` comments and dollar quotes are taken as they are, as
/// PostgreSQL reads them (chapter 4.1, with `standard_conforming_strings` on, its default). So
/// `'{1,2}'::int[]` and JSON in quotes need no care. Anywhere else `{{` and `}}` stand for a brace.
///
/// A cast goes behind the brace: `{tags}::text[]`. A variable called like a keyword of Rust is written without
/// its `r#`: `{type}`.
///
/// # Compile errors
///
/// A name without a variable; `{}`, `{0}`, `{user.name}` and `{a:?}`; a parameter that touches a word
/// (`LIMIT{n}` would be the identifier `limit$1`); a hand-written `$1`; an unclosed brace, string, comment or
/// dollar quote; an argument that the text doesn't name; text that isn't a literal. SQL known only at run time
/// is built with `Sql::new`.
#[proc_macro]
pub fn sql(input: TokenStream) -> TokenStream {
    answer(sql::expand(input.into()))
}

/// Reads a struct from a row, by the names of its columns.
///
/// ```
/// # use pgspan::{FromRow, sql};
/// #[derive(FromRow)]
/// struct User {
///     id: i64,
///     #[pgspan(rename = "full name")]
///     name: Option<String>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let example = tests::example().await?;
/// # let db = pgspan_server::connect(example.url()).await?;
/// # let mut session = db.session().await?;
/// let users: Vec<User> = session.fetch_all(sql!("SELECT id, name AS \"full name\" FROM users")).await?;
/// assert_eq!((users[0].id, users[0].name.as_deref()), (1, Some("Ada")));
/// # Ok(())
/// # }
/// ```
///
/// Every field is a column of that name (`r#type` is the column `type`), in whatever order the statement returns
/// them; a column that may be NULL is an `Option`. Other columns of the row are passed over. A struct with one unnamed field is read from
/// the only column of a row, whatever that is called: `struct Count(i64);`.
///
/// * `#[pgspan(rename = "…")]` on a field: the column's name.
/// * `#[pgspan(rename_all = "…")]` on the struct: how the other fields' names become columns' names:
///   `snake_case`, `lowercase`, `kebab-case`, `SCREAMING_SNAKE_CASE`, `camelCase` or `PascalCase`. Without it a
///   column is called exactly like its field.
/// * `#[pgspan(deny_unknown_columns)]` on the struct: a column without a field is an error that names it.
/// * `#[pgspan(default)]` on a field: its `Default` where the row has no such column.
/// * `#[pgspan(skip)]` on a field: its `Default`, whatever the row has.
/// * `#[pgspan(flatten)]` on a field: a struct that is read from the same row.
/// * `#[pgspan(json)]` on a field: a column of `json` or `jsonb` that serde reads into the field's type.
/// * `#[pgspan(transparent)]` on a struct with one field: it is a column, a parameter and an element of an array as its field is. It must be
///   `Debug`.
///
/// ```
/// # use pgspan::{FromRow, sql};
/// # use serde::Deserialize;
/// #[derive(Debug, Clone, Copy, PartialEq, FromRow)]
/// #[pgspan(transparent)]
/// struct UserId(i64);
///
/// #[derive(Debug, PartialEq, Deserialize)]
/// struct Profile { color: String }
///
/// #[derive(FromRow)]
/// struct Audit { created: String }
///
/// #[derive(FromRow)]
/// struct User {
///     id: UserId,
///     #[pgspan(json)]
///     profile: Option<Profile>,
///     #[pgspan(flatten)]
///     audit: Audit,
///     #[pgspan(default)]
///     visits: i64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let example = tests::example().await?;
/// # let db = pgspan_server::connect(example.url()).await?;
/// let id = UserId(1);
/// let user: User = db.fetch_one(sql!(
///     "SELECT id, 'today' AS created, '{\"color\": \"red\"}'::jsonb AS profile FROM users WHERE id = {id}"
/// )).await?;
/// assert_eq!((user.id, user.visits, user.audit.created.as_str()), (id, 0, "today"));
/// assert_eq!(user.profile, Some(Profile { color: "red".into() }));
/// # Ok(())
/// # }
/// ```
///
/// The type of every field that mentions a type parameter must be `pgspan::FromColumn`; the derive adds that
/// bound.
///
/// # Compile errors
///
/// Two fields for one column; a unit struct, an enum, a union, several unnamed fields (for those rows, read a
/// tuple).
#[proc_macro_derive(FromRow, attributes(pgspan))]
pub fn from_row(input: TokenStream) -> TokenStream {
    answer(from_row::expand(input.into()))
}

/// Lets a field-less enum stand for a PostgreSQL enum.
///
/// ```
/// # use pgspan::sql;
/// #[derive(Debug, Clone, Copy, PartialEq, pgspan::Enum)]
/// enum Mood {
///     Happy,
///     VeryHappy, // very_happy
///     #[pgspan(rename = "sad")]
///     Blue,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let example = tests::example().await?;
/// # let db = pgspan_server::connect(example.url()).await?;
/// # let mut session = db.session().await?;
/// // CREATE TYPE mood AS ENUM ('happy', 'very_happy', 'sad')
/// let mood = Mood::Blue;
/// session.execute(sql!("INSERT INTO people(name, mood) VALUES ('Bob', {mood})")).await?;
/// let bob: Mood = session.fetch_one(sql!("SELECT mood FROM people WHERE name = 'Bob'")).await?;
/// assert_eq!(bob, Mood::Blue);
/// # Ok(())
/// # }
/// ```
///
/// The value travels as text. As a parameter its type is left open, so PostgreSQL takes that of the column; where
/// nothing decides it, cast: `{mood}::mood`. A column of the enum, or of a text type, is read without a cast; a label that
/// is none of these is an error that names the column. An array of them is read as `Vec<Mood>`, and sent as a list of strings is, both without a
/// cast.
///
/// * `#[pgspan(rename = "…")]` on a variant: its label.
/// * `#[pgspan(rename_all = "…")]` on the enum: how variants' names become labels: `snake_case` (the default),
///   `lowercase`, `kebab-case`, `SCREAMING_SNAKE_CASE`, `camelCase` or `PascalCase`. A run of capitals is one
///   word: `HTTPError` is `http_error`.
///
/// Besides `ToSql` (which asks for `Debug`), `FromSql`, `Param` and `ArrayElement` it gives the enum a method
/// `label(&self) -> &'static str`, as visible as the enum.
///
/// # Compile errors
///
/// A variant with fields, two variants with one label, no variants, generics, anything that isn't an enum.
#[proc_macro_derive(Enum, attributes(pgspan))]
pub fn enumeration(input: TokenStream) -> TokenStream {
    answer(enumeration::expand(input.into()))
}

/// Lets a struct stand for a PostgreSQL composite (row) type.
///
/// ```
/// # use pgspan::{FromRow, sql};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Debug, PartialEq, Serialize, Deserialize, pgspan::Composite)]
/// struct Address { street: String, city: Option<String> }
///
/// #[derive(FromRow)]
/// struct Person { name: String, home: Address }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let example = tests::example().await?;
/// # let db = pgspan_server::connect(example.url()).await?;
/// # let mut session = db.session().await?;
/// // CREATE TYPE address AS (street text, city text)
/// let home = Address { street: "Broadway".into(), city: None };
/// session.execute(sql!("UPDATE people SET home = jsonb_populate_record(NULL::address, {home})")).await?;
///
/// let person: Person = session.fetch_one(sql!("SELECT name, to_jsonb(home) AS home FROM people")).await?;
/// assert_eq!((person.name.as_str(), person.home), ("Ada", home));
/// # Ok(())
/// # }
/// ```
///
/// The value travels as `jsonb`, so the fields are named and converted by serde (its `rename` and the like
/// apply) and the order of the type's attributes doesn't matter. `jsonb_populate_record` makes it a row on the
/// way in and `to_jsonb` a document on the way out; a column without `to_jsonb` is refused with an error that
/// names it. An array of them is a `jsonb[]`.
///
/// The struct must be `Debug`, `serde::Serialize` and `serde::de::DeserializeOwned`; the derive adds `ToSql`,
/// `FromSql`, `Param` and `ArrayElement`.
///
/// # Compile errors
///
/// Anything that isn't a struct with named fields; generics.
#[proc_macro_derive(Composite)]
pub fn composite(input: TokenStream) -> TokenStream {
    answer(composite::expand(input.into()))
}

/// The migrations in a folder, which is read when the program is compiled. Use it as `pgspan_server::migrations!`.
///
/// ```
/// use pgspan_server::migrate::Migration;
///
/// const MIGRATIONS: &[Migration] = pgspan_server::migrations!("../../migrations");
/// assert_eq!((MIGRATIONS[0].version, MIGRATIONS[0].name), (1, "users"));
/// ```
///
/// The path begins where the crate's Cargo.toml is. Each file is one migration, and its name says its number and what it is for:
/// `0001_users.sql`. Files with other endings are left alone.
///
/// When a file changes cargo compiles the program again. To do so for a new file it needs a `build.rs` whose `main` says
/// `println!("cargo::rerun-if-changed=migrations")`.
#[proc_macro]
pub fn migrations(input: TokenStream) -> TokenStream {
    answer(migrations::expand(input.into()))
}

/// The expansion, or the compile errors that take its place.
fn answer(expansion: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expansion.unwrap_or_else(syn::Error::into_compile_error).into()
}
