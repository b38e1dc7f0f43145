//! A list, page by page.

use crate::problem::Problem;
use crate::query::{Parameter, Query};

/// The page of a list that a caller asks for: `?limit=20&after=7`. Pages follow each other by a key (keyset), so page 1,000
/// costs as much as page 1, and rows that come or go meanwhile shift none.
///
/// ```
/// use pgspan::{Database, FromRow, sql};
/// use pgspan_http::{Db, Paging, Problem, Query};
///
/// #[derive(FromRow)]
/// struct Product { id: i64, name: String }
///
/// async fn list(Db(db): Db, query: Query) -> Result<String, Problem> {
///     let paging: Paging<i64> = Paging::finish(query, 20, 100)?; // 20 unless asked for, 100 at most
///     let (after, one_more) = (paging.after.unwrap_or(0), paging.one_more());
///     let page = sql!("SELECT id, name FROM products WHERE id > {after} ORDER BY id LIMIT {one_more}");
///     let rows: Vec<Product> = db.fetch_all(page.reads_only()).await?;
///     let (products, next) = paging.cut(rows, |last| last.id);
///     Ok(format!("{} products; the next page is ?after={next:?}", products.len()))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging<K> {
    /// The key of the last row of the page before; none for the first page.
    pub after: Option<K>,
    /// How many rows at most.
    pub limit: u16,
}

impl<K: Parameter> Paging<K> {
    /// Takes `limit` and `after` as the last parameters of a query, and [finishes](Query::finish) it.
    ///
    /// `default` is the limit of a caller who gives none, `most` the highest that may be given: an answer is in memory as a
    /// whole.
    ///
    /// # Errors
    ///
    /// 422 `invalid_request` if one of the two is not what it must be, or anything else is left in the query.
    pub fn finish(mut query: Query, default: u16, most: u16) -> Result<Paging<K>, Problem> {
        let (limit, after) = (query.optional::<i64>("limit")?, query.optional("after")?);
        query.finish()?;
        match limit.map_or(Ok(default), u16::try_from) {
            Ok(limit) if (1..=most).contains(&limit) => Ok(Paging { after, limit }),
            _ => Err(Problem::invalid("limit", format_args!("must be from 1 to {most}"))),
        }
    }
}

impl<K> Paging<K> {
    /// The LIMIT of the statement. One row more than the page has, which tells whether there is a next one.
    pub fn one_more(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The rows of the page, and the `after` of the next; none on the last.
    pub fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> (Vec<T>, Option<K>) {
        let is_last = rows.len() <= usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows.last().filter(|_| !is_last).map(key);
        (rows, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Paging<i64>, Problem> {
        Paging::finish(Query::parse(&format!("/?{query}").parse().unwrap())?, 20, 100)
    }

    #[test]
    fn a_page_has_a_limit_and_a_query_nothing_else() {
        assert_eq!(read("").unwrap(), Paging { after: None, limit: 20 });
        assert_eq!(read("limit=100&after=-7").unwrap(), Paging { after: Some(-7), limit: 100 });
        for query in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=65537",
            "limit=",
            "after=x",
            "limit=1&limit=2",
            "page=1",
        ] {
            assert_eq!(read(query).unwrap_err().code(), "invalid_request", "{query}");
        }
    }

    #[test]
    fn the_next_page_starts_where_this_one_ends_and_the_last_has_no_next() {
        let all = [1, 2, 3, 4, 5];
        let mut paging = Paging { after: None, limit: 2 };
        let mut seen = Vec::new();
        loop {
            let after = paging.after.unwrap_or(0);
            let rows =
                all.into_iter().filter(|row| *row > after).take(usize::try_from(paging.one_more()).unwrap());
            let (page, next) = paging.cut(rows.collect(), |row| *row);
            seen.extend(page);
            if next.is_none() {
                break;
            }
            paging.after = next;
        }
        assert_eq!(seen, all);
        let exactly = Paging { after: None, limit: 2 }.cut(vec![1, 2], |row| *row);
        assert_eq!(exactly, (vec![1, 2], None));
    }
}
