//! Whether the parameters PostgreSQL sees are those that were bound.

use crate::tokens::{Kind, Token, Tokens};

/// Passes the tokens of a statement one after the other, comments too.
pub(super) struct Parameters<'a> {
    /// The places that were not passed yet.
    placed: &'a [usize],
    count: usize,
    hides: bool,
    pub(super) by_hand: Option<u32>,
    /// Whether a body has parameters of its own.
    has_body: bool,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(placed: &'a [usize], first: &str, rest: Tokens<'_>) -> Self {
        // what was bound is a parameter of the statement, and then there is no other
        let has_body = placed.is_empty() && has_body(first, rest);
        Self { placed, count: placed.len(), hides: false, by_hand: None, has_body }
    }

    pub(super) fn pass(&mut self, token: &Token<'_>) {
        let number = number(token);
        let mut is_placed = false;
        while let Some((&place, later)) = self.placed.split_first()
            && place < token.end()
        {
            is_placed = place == token.at;
            // `$1` before a digit has become another
            self.hides |= !is_placed || number.is_none_or(|number| number > self.count);
            self.placed = later;
        }
        if let Some(number) = number
            && !is_placed
            && !self.has_body
        {
            self.by_hand.get_or_insert(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }

    /// Whether one is no parameter to PostgreSQL, once all tokens have been passed.
    pub(super) fn are_hidden(&self) -> bool {
        self.hides || !self.placed.is_empty()
    }
}

/// Whether it is `PREPARE`, or `CREATE [OR REPLACE] FUNCTION` or `PROCEDURE`.
fn has_body(first: &str, mut rest: Tokens<'_>) -> bool {
    if first.eq_ignore_ascii_case("CREATE") {
        rest.eat_or_replace();
        return rest.eat(&["FUNCTION", "PROCEDURE"]);
    }
    first.eq_ignore_ascii_case("PREPARE")
}

/// The number of a `$1`; one too large for any parameter is the largest there is.
fn number(token: &Token<'_>) -> Option<usize> {
    let digits = token.text.strip_prefix('$').filter(|_| token.kind == Kind::Parameter)?;
    Some(digits.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    //! Looked for as siblings: every kind of quotes and of comments; a number that is part of a word; a parameter directly behind a
    //! word or before a digit, where PostgreSQL reads something else; every statement whose body has parameters of its own, and those that
    //! begin like one.

    use crate::{inspect, named};

    /// The places of the first `$` of every `$n` that is followed by `°`, which is taken out.
    fn ours(marked: &str) -> (String, Vec<usize>) {
        let (mut text, mut places) = (String::new(), Vec::new());
        for piece in marked.split_inclusive('°') {
            text.push_str(piece.trim_end_matches('°'));
            if piece.ends_with('°') {
                places.push(text.rfind('$').unwrap());
            }
        }
        (text, places)
    }

    #[test]
    fn the_first_number_written_by_hand_is_told() {
        for (marked, number) in [
            ("DELETE FROM t WHERE id = $1", Some(1)),
            ("SELECT $1°, $2, $3", Some(2)),
            ("SELECT x = $1 AND y = $1°", Some(1)),
            ("SELECT 1$2", Some(2)),
            ("SELECT $99999999999999999999", Some(u32::MAX)),
            ("EXPLAIN SELECT $1", Some(1)),
            ("SELECT $1°, $2°", None),
            ("SELECT '$1', \"$1\", $$ $1 $$, $q$ $1 $q$, E'\\'$1', U&\"$1\" -- $1\n /* $1 /* */ $1 */", None),
            ("SELECT a$1, é$2, $ 1, $a", None),
            ("PREPARE p AS SELECT $1", None),
            (" -- a\ncreate FUNCTION f(int) RETURNS int RETURN $1", None),
            ("CREATE OR REPLACE PROCEDURE p(int) BEGIN ATOMIC DELETE FROM t WHERE id = $1; END", None),
            ("CREATE FUNCTION f(int) RETURNS int RETURN $1 + $1°", Some(1)),
            ("PREPARE p AS SELECT $1 + $1°", Some(1)),
            ("CREATE TABLE t AS SELECT $1 AS a, $1° AS b", Some(1)),
            ("CREATE TABLE t AS SELECT $1 AS a", Some(1)),
            ("CREATE VIEW v AS SELECT $1", Some(1)),
            ("CREATE MATERIALIZED VIEW v AS SELECT $1", Some(1)),
            ("", None),
        ] {
            let (text, places) = ours(marked);
            assert_eq!(inspect(&text, &places).by_hand, number, "{marked}");
        }
    }

    #[test]
    fn one_that_postgresql_will_not_see_is_told() {
        for (marked, hidden) in [
            ("SELECT '$1°'", true),
            ("SELECT $1°, 'it''s $2°', $3°", true),
            ("SELECT \"$1°\"", true),
            ("SELECT U&\"$1°\"", true),
            (r"SELECT E'\' $1°'", true),
            ("SELECT $$ $1° $$", true),
            ("SELECT $q$$1°$q$", true),
            ("SELECT 1 -- $1°", true),
            ("SELECT 1 /* /* */ $1° */", true),
            ("CREATE VIEW v AS SELECT '$1°'", true),
            ("SELECT * FROM t LIMIT$1°", true),
            ("SELECT $1°0", true),
            ("SELECT '$1° unclosed", true),
            ("SELECT 1$1°, $2°", false),
            ("SELECT '' || $1° || ''", false),
            ("SELECT $1°::text, $1°", false),
            ("/**/$1°--", false),
        ] {
            let (text, places) = ours(marked);
            assert_eq!(inspect(&text, &places).hides_parameter, hidden, "{marked}");
        }
    }

    #[test]
    fn a_place_that_is_none_is_hidden_and_panics_nowhere() {
        for place in [0, 3, 7, 8, 9, 100, usize::MAX] {
            assert!(inspect("SELECT é", &[place]).hides_parameter, "{place}");
        }
    }

    #[test]
    fn what_the_macro_numbers_is_neither_written_by_hand_nor_hidden() {
        let mut parameters = 0;
        let fragments =
            ["{a}", "{b}", " ", "'", "\"", "$$", "--", "\n", "/*", "*/", ",", "a", "7", "é", "E'", "{{"];
        for text in crate::generated::generated(&fragments) {
            let Ok(named) = named(&text) else { continue };
            let inspection = inspect(&named.text, &named.placed);
            assert_eq!((inspection.by_hand, inspection.hides_parameter), (None, false), "{text:?}");
            parameters += named.placed.len();
        }
        assert!(parameters > 100, "the generator makes no parameters");
    }
}
