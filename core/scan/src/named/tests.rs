use super::*;
use crate::generated::generated;

/// The text is accepted and becomes `text` with these names.
#[track_caller]
fn becomes(sql: &str, text: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let named = named(sql).unwrap();
    assert_eq!((named.text.as_str(), named.names.as_slice()), (text, names.as_slice()));
}

/// The text is accepted, and every parameter in it is `{a}`: none of the other braces and dollars is touched.
#[track_caller]
fn stays(sql: &str) {
    becomes(sql, sql, &[]);
}

/// The text is refused with a message that contains this.
#[track_caller]
fn refused(sql: &str, expected: &str) {
    let message = named(sql).unwrap_err().to_string();
    assert!(message.contains(expected), "{sql:?} is refused with: {message}");
}

#[test]
fn names_become_numbers_in_the_order_of_first_appearance() {
    becomes("SELECT {b} + {a}", "SELECT $1 + $2", &["b", "a"]);
    becomes("VALUES({a},{b},{a})", "VALUES($1,$2,$1)", &["a", "b"]);
}

#[test]
fn a_name_before_is_null_has_a_number_of_its_own() {
    let tests = |sql: &str| {
        let named = named(sql).unwrap();
        (named.text, named.names, named.null_tests)
    };
    let (text, names, null_tests) =
        tests("WHERE ({a} IS NULL OR x = {a}) AND {b}\n is /* */ not -- \n null AND {a} IS NULL");
    assert_eq!(text, "WHERE ($1 IS NULL OR x = $2) AND $3\n is /* */ not -- \n null AND $1 IS NULL");
    assert_eq!((names, null_tests), (vec!["a".to_owned(), "a".to_owned(), "b".to_owned()], vec![0, 2]));
    for other in [
        "{a} IS DISTINCT FROM {a}",
        "{a} IS NOT TRUE",
        "{a}::text IS NULL",
        "{a} 'IS NULL'",
        "{a} isnull",
        "{a}",
    ] {
        assert_eq!(tests(other).2, [] as [usize; 0], "{other}");
    }
}

#[test]
fn the_tenth_name_is_number_ten() {
    let names: Vec<String> = (1..=10).map(|n| format!("a{n}")).collect();
    let named = named(&names.iter().map(|name| format!("({{{name}}})")).collect::<String>()).unwrap();
    assert_eq!(named.text, "($1)($2)($3)($4)($5)($6)($7)($8)($9)($10)");
    assert_eq!(named.names, names);
}

#[test]
fn names_may_have_underscores_digits_letters_of_any_script_and_blanks_around_them() {
    becomes("SELECT {_a}, {a_1}, {größe}, { a }", "SELECT $1, $2, $3, $4", &["_a", "a_1", "größe", "a"]);
}

#[test]
fn casts_subscripts_and_operators_are_kept() {
    becomes("SELECT {a}::int4, {b}::text[]", "SELECT $1::int4, $2::text[]", &["a", "b"]);
    becomes("SELECT x[1], x[{a}:{b}], ({c})[2:3]", "SELECT x[1], x[$1:$2], ($3)[2:3]", &["a", "b", "c"]);
    becomes("x ? {a} AND x ?| {b}", "x ? $1 AND x ?| $2", &["a", "b"]);
    becomes("x #>> {a} -> {b} ->> {c}", "x #>> $1 -> $2 ->> $3", &["a", "b", "c"]);
    becomes("x @> {a} OR -{b} < {c} OR x->{b}", "x @> $1 OR -$2 < $3 OR x->$2", &["a", "b", "c"]);
    becomes("ARRAY[{a},{b}]||{c}", "ARRAY[$1,$2]||$3", &["a", "b", "c"]);
}

#[test]
fn strings_are_left_alone() {
    stays("SELECT '{a}'");
    stays("SELECT '{1,2}'::int[]");
    stays(r#"SELECT '{"a": {"b": [1, "}"]}}'::jsonb"#);
    stays("SELECT 'it''s {a}', '''{a}'''");
    stays("SELECT '{a}\n{b}'");
    becomes("SELECT '{a}', {b}, ''", "SELECT '{a}', $1, ''", &["b"]);
}

#[test]
fn a_backslash_means_nothing_in_an_ordinary_string() {
    becomes(r"SELECT '\', {a}", r"SELECT '\', $1", &["a"]);
    becomes(r"SELECT '{a}\', {b}, '\{c}'", r"SELECT '{a}\', $1, '\{c}'", &["b"]);
}

#[test]
fn a_backslash_takes_the_quote_with_it_in_an_escape_string() {
    stays(r"SELECT E'\'{a}'");
    stays(r"SELECT e'it\'s {a}'");
    stays(r"SELECT E'''{a}', E'a''\'{a}'");
    becomes(r"SELECT E'\\', {a}", r"SELECT E'\\', $1", &["a"]);
    refused(r"SELECT E'\'", "this string is never closed");
    refused(r"SELECT E'\", "this string is never closed");
}

#[test]
fn an_escape_string_stays_one_where_it_goes_on_in_a_later_line() {
    stays("SELECT E'a'\n  '\\'{a}'");
    stays("SELECT E'a' -- {a} '\n -- more\n '\\'{a}'");
    becomes("SELECT E'a' '\\', {a}", "SELECT E'a' '\\', $1", &["a"]);
    becomes("SELECT E'a'\n, '\\', {a}", "SELECT E'a'\n, '\\', $1", &["a"]);
}

#[test]
fn a_word_that_ends_in_e_starts_no_escape_string() {
    becomes(r"SELECT date'\', {a}", r"SELECT date'\', $1", &["a"]);
    becomes(r"SELECT e '\', {a}", r"SELECT e '\', $1", &["a"]);
}

#[test]
fn strings_of_bits_of_unicode_and_of_national_characters_are_left_alone() {
    for prefix in ["B", "b", "X", "x", "N", "n", "U&", "u&"] {
        let (sql, text) =
            (format!(r"SELECT {prefix}'{{a}}\', {{b}}"), format!(r"SELECT {prefix}'{{a}}\', $1"));
        becomes(&sql, &text, &["b"]);
    }
}

#[test]
fn quoted_identifiers_are_left_alone() {
    stays(r#"SELECT "{a}", "a""{a}", U&"{a}", "it's""#);
    becomes(r#"SELECT {a} AS "{a}""#, r#"SELECT $1 AS "{a}""#, &["a"]);
}

#[test]
fn line_comments_are_left_alone_up_to_their_line_break() {
    becomes("SELECT 1 -- {a} 'it''s\n, {b}", "SELECT 1 -- {a} 'it''s\n, $1", &["b"]);
    becomes("SELECT 1 -- {a}\r, {b}", "SELECT 1 -- {a}\r, $1", &["b"]);
    becomes("SELECT 1 --- {a}\n+-{b}", "SELECT 1 --- {a}\n+-$1", &["b"]);
    stays("SELECT 1 -- {a}");
    stays("--");
}

#[test]
fn block_comments_are_left_alone_and_nest() {
    stays("/* {a} */ SELECT 1");
    becomes("/* {a} /* {b} */ ' {c} */ {d}", "/* {a} /* {b} */ ' {c} */ $1", &["d"]);
    becomes("/**/{a}/***/{b}/*/ {c} */", "/**/$1/***/$2/*/ {c} */", &["a", "b"]);
    becomes("SELECT {a} / {b} * {c}", "SELECT $1 / $2 * $3", &["a", "b", "c"]);
    refused("SELECT 1 /* {a}", "this comment is never closed");
    refused("/* /* */", "this comment is never closed");
    refused("/*/", "this comment is never closed");
}

#[test]
fn dollar_quotes_are_left_alone() {
    stays("SELECT $${a} it's$$");
    stays("SELECT $q${a} $$ $p$ $1 $q$");
    stays("SELECT $größe_1${a}$größe_1$");
    stays("DO $$BEGIN RAISE NOTICE '%', $q${a}$q$; END$$");
    becomes("SELECT $$x$$, {a}", "SELECT $$x$$, $1", &["a"]);
    becomes("SELECT $a$x$b$a$, {a}", "SELECT $a$x$b$a$, $1", &["a"]);
    becomes("SELECT $$x$${a}", "SELECT $$x$$$1", &["a"]);
}

#[test]
fn a_dollar_in_a_word_starts_no_quote() {
    becomes("SELECT a$b$, {c}, a$b$", "SELECT a$b$, $1, a$b$", &["c"]);
    becomes("SELECT a$$, {c}", "SELECT a$$, $1", &["c"]);
    becomes("SELECT a$1, {c}", "SELECT a$1, $1", &["c"]);
}

#[test]
fn a_tag_begins_like_a_word_and_has_no_dollar() {
    becomes("SELECT $a-b$ {c}", "SELECT $a-b$ $1", &["c"]);
    becomes("SELECT $ {c}", "SELECT $ $1", &["c"]);
}

#[test]
fn an_unclosed_quote_is_refused_with_what_would_close_it() {
    refused("SELECT '{a}", "close it with `'`");
    refused("SELECT 'it''", "close it with `'`");
    refused("SELECT \"{a}", "close it with `\"`");
    refused("SELECT $${a}", "close it with `$$`");
    refused("SELECT $q${a}$$ $Q$", "close it with `$q$`");
}

#[test]
fn a_doubled_brace_is_a_brace() {
    becomes("SELECT {{a}}, {{}}", "SELECT {a}, {}", &[]);
    becomes("{{{a}}}", "{$1}", &["a"]);
}

#[test]
fn a_numbered_parameter_is_refused_except_in_quotes_and_comments() {
    refused("SELECT $1", "`$1`: parameters are named");
    refused("SELECT {a}, $12::int", "`$12`: parameters are named");
    refused("SELECT 1$1", "`$1`: parameters are named");
    stays("SELECT '$1', \"$1\", $$ $1 $$ -- $1\n/* $1 */");
}

#[test]
fn a_dollar_before_the_brace_is_refused() {
    refused("SELECT ${a}", "write `{id}`, not `${id}`");
}

#[test]
fn a_parameter_that_touches_a_word_is_refused() {
    refused("SELECT * FROM t LIMIT{a}", "put a space before `{a}`");
    refused("SELECT * FROM t_{a}", "can't stand for a name");
    refused("SELECT 1{a}", "put a space before `{a}`");
    refused("SELECT $q{a}", "put a space before `{a}`");
    refused("SELECT {a}AS b", "put a space after the `}`");
    refused("SELECT {a}1", "put a space after the `}`");
    refused("SELECT {a}E'x'", "put a space after the `}`");
    becomes("SELECT E'x'||{a}||'y'", "SELECT E'x'||$1||'y'", &["a"]);
}

#[test]
fn braces_without_a_plain_name_are_refused_with_what_to_write() {
    refused("SELECT {}", "name the parameter");
    refused("SELECT {  }", "name the parameter");
    refused("SELECT {0}", "names, not positions");
    refused("SELECT {a:?}", "takes no format");
    refused("SELECT {:?}", "takes no format");
    refused("SELECT {0:>3}", "takes no format");
    refused("SELECT {a::text}", "as in `{id}::text`");
    refused("SELECT {r#type}", "write `{type}`");
    for inside in ["user.name", "a b", "a-b", "1a", "_", "1,2", "\"a\": 1", "a()", "&a", "'a'", "😀", "a\0"]
    {
        refused(&format!("SELECT {{{inside}}}"), "not the name of a variable");
    }
}

#[test]
fn a_long_wrong_name_is_cut() {
    let message = named(&format!("{{{}}}", "é.".repeat(100))).unwrap_err().to_string();
    assert!(message.contains('…') && message.chars().count() < 300, "{message}");
}

#[test]
fn a_brace_that_stands_alone_is_refused() {
    refused("SELECT {a", "`{` is never closed");
    refused("SELECT {", "`{` is never closed");
    refused("SELECT {a {b}", "`{` is never closed");
    refused("SELECT a}", "`}` closes nothing");
    refused("SELECT {a}}", "`}` closes nothing");
}

#[test]
fn a_problem_has_a_line_and_a_column_in_characters() {
    let problem = named("SELECT 'ü',\n 'ü' {}").unwrap_err();
    assert_eq!((problem.line, problem.column), (2, 6));
}

#[test]
fn an_empty_text_is_an_empty_statement() {
    stays("");
    stays(" \n");
}

#[test]
fn no_text_panics_and_what_is_accepted_has_as_many_names_as_numbers() {
    let mut accepted = 0;
    for sql in generated(FRAGMENTS) {
        let Ok(Named { text, names, placed, null_tests }) = named(&sql) else { continue };
        accepted += 1;
        for n in 1..=names.len() {
            assert!(text.contains(&format!("${n}")), "{sql:?} became {text:?}");
        }
        for place in placed {
            assert!(text[place..].starts_with('$'), "{sql:?} became {text:?}");
        }
        let uses = names.iter().enumerate().map(|(index, name)| (name, null_tests.contains(&index)));
        let distinct: std::collections::BTreeSet<_> = uses.collect();
        assert_eq!(distinct.len(), names.len(), "{sql:?}");
    }
    assert!(accepted > 100, "the generator makes nothing but errors");
}

#[test]
fn a_text_without_braces_is_accepted_as_it_is_or_refused() {
    let plain: Vec<&str> =
        FRAGMENTS.iter().copied().filter(|fragment| !fragment.contains(['{', '}'])).collect();
    let mut accepted = 0;
    for sql in generated(&plain) {
        let Ok(named) = named(&sql) else { continue };
        accepted += 1;
        assert_eq!(named, Named { text: sql, ..Named::default() });
    }
    assert!(accepted > 100, "the generator makes nothing but errors");
}

const FRAGMENTS: &[&str] = &[
    "{a}", "{b}", "{", "}", "{{", "}}", "{é}", "'", "''", "E'", "\\", "\"", "$", "$$", "$t$", "$é$", "1",
    "a", "é", "😀", "--", "\n", "\r", "/*", "*/", " ", " ", " ", ":", "::", ",", "(", ")", "_", "\0", "U&",
    "?",
];
