use super::*;

fn expands(input: TokenStream, expected: TokenStream) {
    let expansion = expand(input).unwrap();
    syn::parse2::<Expr>(expansion.clone()).unwrap();
    assert_eq!(expansion.to_string(), expected.to_string());
}

/// What binds a variable.
fn captured(name: TokenStream) -> TokenStream {
    quote!({
        use ::pgspan::macros::Bind as _;
        ::pgspan::macros::expect_param(&#name);
        #name.pgspan_bind()
    })
}

fn error(input: TokenStream) -> String {
    let error = expand(input).unwrap_err();
    error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn variables_are_captured_by_name() {
    let c_a = captured(quote!(a));
    let c_b = captured(quote!(b));
    expands(
        quote!("SELECT {a} + {b} AS sum"),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1 + $2 AS sum",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![#c_a, #c_b]
        )),
    );
}

#[test]
fn a_name_used_twice_is_bound_once() {
    let c_a = captured(quote!(a));
    expands(
        quote!("SELECT {a} + {a}"),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1 + $1",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![#c_a]
        )),
    );
}

#[test]
fn literals_side_by_side_are_one_statement() {
    let c_a = captured(quote!(a));
    expands(
        quote!("SELECT a, b " "FROM t" " WHERE a = {a}" r#" AND "c" = 1"#),
        quote!(::pgspan::Sql::from_macro(
            "SELECT a, b FROM t WHERE a = $1 AND \"c\" = 1",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![#c_a]
        )),
    );
    for input in [quote!("SELECT a" "FROM t"), quote!("SELECT a," "b"), quote!("SELECT {a}" "{a}")] {
        assert!(error(input).contains("with a space"));
    }
}

#[test]
fn what_is_tested_for_null_is_bound_for_that_alone() {
    let c_a = captured(quote!(a));
    expands(
        quote!("SELECT {a} IS NULL OR x = {a}"),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1 IS NULL OR x = $2",
            ::pgspan::macros::Inspection::PLAIN,
            ::pgspan::macros::with_null_tests(&[#c_a], &[(0, true), (0, false)])
        )),
    );
}

#[test]
fn without_parameters_there_is_nothing_to_bind() {
    expands(
        quote!("SELECT 1"),
        quote!(::pgspan::Sql::from_macro(
            "SELECT 1",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec::Vec::new()
        )),
    );
}

#[test]
fn what_the_words_say_is_written_into_the_program() {
    expands(
        quote!("SET LOCAL statement_timeout = '1.5s'"),
        quote!(::pgspan::Sql::from_macro(
            "SET LOCAL statement_timeout = '1.5s'",
            ::pgspan::macros::Inspection {
                command: ::pgspan::macros::Command::Other,
                effect: ::pgspan::macros::Effect::OnlyInTransaction,
                statement_timeout: ::std::option::Option::Some((
                    true,
                    ::pgspan::macros::TimeLimit::Of(::std::time::Duration::from_millis(1500u64))
                )),
                ..::pgspan::macros::Inspection::PLAIN
            },
            ::std::vec::Vec::new()
        )),
    );
}

#[test]
fn other_values_are_named_in_any_order_and_bound_in_the_order_of_the_text() {
    expands(
        quote!(r#"SELECT {a}, {b}, "x""#, b = 1 + 1, a = user.name(),),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1, $2, \"x\"",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![::pgspan::macros::bind(&(user.name())), ::pgspan::macros::bind(&(1 + 1))]
        )),
    );
}

#[test]
fn named_values_and_variables_mix() {
    let c_b = captured(quote!(b));
    expands(
        quote!("SELECT {a}, {b}", a = b),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1, $2",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![::pgspan::macros::bind(&(b)), #c_b]
        )),
    );
}

#[test]
fn a_keyword_is_a_raw_variable_and_self_is_self() {
    let c_type = captured(quote!(r#type));
    let c_gen = captured(quote!(r#gen));
    let c_self = captured(quote!(self));
    expands(
        quote!("SELECT {type}, {gen}, {self}"),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1, $2, $3",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![#c_type, #c_gen, #c_self]
        )),
    );
}

#[test]
fn a_keyword_can_name_a_value_with_and_without_its_mark() {
    for argument in [quote!(type = kind), quote!(r#type = kind)] {
        expands(
            quote!("SELECT {type}", #argument),
            quote!(::pgspan::Sql::from_macro(
                "SELECT $1",
                ::pgspan::macros::Inspection::PLAIN,
                ::std::vec![::pgspan::macros::bind(&(kind))]
            )),
        );
    }
    expands(
        quote!("SELECT {crate}", crate = 1),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![::pgspan::macros::bind(&(1))]
        )),
    );
}

#[test]
fn a_name_no_variable_can_have_asks_for_a_value() {
    for name in ["Self", "super", "crate"] {
        let sql = format!("SELECT {{{name}}}");
        assert!(error(quote!(#sql)).contains("no variable can have this name"));
    }
}

#[test]
fn a_problem_of_the_text_is_reported_with_its_place() {
    assert_eq!(
        error(quote!("SELECT\n  {}")),
        "`{}` has no name: name the parameter, as in `{id}` (line 2, column 3 of the SQL)"
    );
}

#[test]
fn a_value_nobody_uses_is_an_error() {
    assert!(error(quote!("SELECT '{a}'", a = 1)).contains("`{a}` is nowhere in the SQL"));
    assert!(error(quote!("SELECT {b}", a = 1)).contains("`{a}` is nowhere in the SQL"));
}

#[test]
fn a_value_given_twice_is_an_error() {
    assert!(error(quote!("SELECT {a}", a = 1, a = 2)).contains("`a` is given twice"));
    assert!(error(quote!("SELECT {type}", type = 1, r#type = 2)).contains("`type` is given twice"));
}

#[test]
fn all_errors_of_values_are_reported_at_once() {
    assert_eq!(error(quote!("SELECT 1", a = 1, b = 2)).lines().count(), 2);
}

#[test]
fn sql_that_is_no_literal_is_pointed_to_the_run_time_way() {
    for input in [
        quote!(text),
        quote!(&text),
        quote!(concat!("SELECT", " 1")),
        quote!(b"SELECT 1"),
        quote!(c"SELECT 1"),
        quote!(1),
        quote!(true),
        quote!(-1),
        quote!(a = 1),
    ] {
        let message = error(input);
        assert!(message.contains("`Sql::new`"), "{message}");
    }
}

#[test]
fn a_value_without_a_name_is_an_error_that_shows_how_to_name_it() {
    for input in [
        quote!("SELECT {a}", user.name),
        quote!("SELECT {a}", a),
        quote!("SELECT {a}", 1),
        quote!("SELECT {a}", a == b),
    ] {
        let message = error(input);
        assert!(message.contains("`name = user.name`"), "{message}");
    }
}

#[test]
fn what_does_not_parse_is_an_error_and_no_panic() {
    for input in [
        quote!(),
        quote!("SELECT 1"; a = 1),
        quote!("SELECT 1" 2),
        quote!("SELECT {a}", a =),
        quote!("SELECT {a}", a = 1 b = 2),
        quote!("SELECT {a}",,),
        quote!("SELECT \0"),
    ] {
        error(input);
    }
}

#[test]
fn a_literal_that_comes_through_another_macro_is_a_literal() {
    let c_a = captured(quote!(a));
    let literal = proc_macro2::Group::new(proc_macro2::Delimiter::None, quote!("SELECT {a}"));
    expands(
        quote!(#literal),
        quote!(::pgspan::Sql::from_macro(
            "SELECT $1",
            ::pgspan::macros::Inspection::PLAIN,
            ::std::vec![#c_a]
        )),
    );
}
