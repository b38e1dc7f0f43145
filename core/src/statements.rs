//! Code that does not care where its statements run.

use std::future::Future;

use crate::database::Database;
use crate::error::Result;
use crate::row::FromRow;
use crate::session::Session;
use crate::sql::Sql;
use crate::transaction::Transaction;

/// Where a statement can be sent: a [`Session`], a [`Transaction`], or a [`Database`].
///
/// Take it as a parameter where a function should work inside a transaction and outside of one. The functions are those
/// that the three types have themselves, with the same errors and the same cancel safety.
pub trait Statements: Send {
    /// As [`Session::execute`].
    fn execute<'q>(&mut self, sql: impl Into<Sql<'q>> + Send) -> impl Future<Output = Result<u64>> + Send;

    /// As [`Session::fetch_one`].
    fn fetch_one<'q, T: FromRow + Send>(
        &mut self,
        sql: impl Into<Sql<'q>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;

    /// As [`Session::fetch_optional`].
    fn fetch_optional<'q, T: FromRow + Send>(
        &mut self,
        sql: impl Into<Sql<'q>> + Send,
    ) -> impl Future<Output = Result<Option<T>>> + Send;

    /// As [`Session::fetch_all`].
    fn fetch_all<'q, T: FromRow + Send>(
        &mut self,
        sql: impl Into<Sql<'q>> + Send,
    ) -> impl Future<Output = Result<Vec<T>>> + Send;
}

macro_rules! anywhere {
    ($($place:ty),*) => {$(
        impl Statements for $place {
            async fn execute<'q>(&mut self, sql: impl Into<Sql<'q>> + Send) -> Result<u64> {
                <$place>::execute(self, sql.into()).await
            }

            async fn fetch_one<'q, T: FromRow + Send>(&mut self, sql: impl Into<Sql<'q>> + Send) -> Result<T> {
                <$place>::fetch_one(self, sql.into()).await
            }

            async fn fetch_optional<'q, T: FromRow + Send>(
                &mut self,
                sql: impl Into<Sql<'q>> + Send,
            ) -> Result<Option<T>> {
                <$place>::fetch_optional(self, sql.into()).await
            }

            async fn fetch_all<'q, T: FromRow + Send>(&mut self, sql: impl Into<Sql<'q>> + Send) -> Result<Vec<T>> {
                <$place>::fetch_all(self, sql.into()).await
            }
        }
    )*};
}

anywhere!(Session, Transaction<'_>, Database);
