use super::*;

fn expansion(input: TokenStream) -> String {
    let expansion = expand(input).unwrap();
    let file: syn::File = syn::parse2(expansion.clone()).unwrap();
    assert_eq!(file.items.len(), 6, "label, ToSql, FromSql, Param, ArrayElement, FromRow");
    expansion.to_string()
}

fn contains(expansion: &str, expected: TokenStream) {
    let expected = expected.to_string();
    assert!(expansion.contains(&expected), "{expected}\nis not in\n{expansion}");
}

fn error(input: TokenStream) -> String {
    let error = expand(input).unwrap_err();
    error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_variant_is_its_name_in_snake_case_both_ways() {
    let mood = expansion(quote!(
        pub enum Mood {
            Happy,
            VeryHappy = 7,
        }
    ));
    contains(&mood, quote!(Self::Happy => "happy", Self::VeryHappy => "very_happy",));
    contains(&mood, quote!(b"happy" => ::std::result::Result::Ok(Self::Happy),));
    contains(&mood, quote!(b"very_happy" => ::std::result::Result::Ok(Self::VeryHappy),));
}

#[test]
fn the_method_is_as_visible_as_the_enum() {
    let public = expansion(quote!(
        pub(crate) enum Mood {
            Happy,
        }
    ));
    contains(&public, quote!(pub(crate) const fn label(&self) -> &'static str));
    let private = expansion(quote!(
        enum Mood {
            Happy,
        }
    ));
    assert!(!private.contains("pub"));
}

#[test]
fn a_variant_can_be_renamed_and_all_can_but_the_single_rename_wins() {
    let mood = expansion(quote!(
        #[pgspan(rename_all = "SCREAMING_SNAKE_CASE")]
        enum Mood {
            VeryHappy,
            #[pgspan(rename = "it's ok")]
            Neutral,
        }
    ));
    contains(&mood, quote!(Self::VeryHappy => "VERY_HAPPY", Self::Neutral => "it's ok",));
}

#[test]
fn a_label_beyond_ascii_is_compared_as_utf8() {
    let mood = expansion(quote!(
        enum Mood {
            #[pgspan(rename = "glücklich")]
            Happy,
        }
    ));
    contains(&mood, quote!(Self::Happy => "glücklich"));
    contains(&mood, quote!(b"gl\xC3\xBCcklich" => ::std::result::Result::Ok(Self::Happy)));
}

#[test]
fn a_raw_name_is_the_name_without_its_mark() {
    let kind = expansion(quote!(
        enum r#Kind {
            r#type,
        }
    ));
    contains(&kind, quote!(Self::r#type => "type"));
    contains(&kind, quote!("not a label of enum Kind"));
}

#[test]
fn it_travels_as_text_of_a_type_the_server_decides() {
    let mood = expansion(quote!(
        enum Mood {
            Happy,
        }
    ));
    contains(&mood, quote!(::pgspan::types::Format::Text));
    contains(
        &mood,
        quote!(
            const TYPE: ::pgspan::types::Type = ::pgspan::types::Type::UNKNOWN;
        ),
    );
    contains(
        &mood,
        quote!(
            const ARRAY: ::pgspan::types::Type = ::pgspan::types::Type::TEXT_ARRAY;
        ),
    );
    contains(&mood, quote!(::pgspan::types::to_sql_checked!();));
    for accepted in [quote!(TEXT), quote!(VARCHAR), quote!(BPCHAR), quote!(NAME), quote!(UNKNOWN)] {
        contains(&mood, quote!(*ty == ::pgspan::types::Type::#accepted));
    }
}

#[test]
fn an_unknown_label_is_an_error_without_the_value() {
    let mood = expansion(quote!(
        enum Mood {
            Happy,
        }
    ));
    contains(
        &mood,
        quote!(_ => ::std::result::Result::Err(::std::convert::From::from("not a label of enum Mood")),),
    );
}

#[test]
fn two_variants_with_one_label_are_an_error() {
    let message = error(quote!(
        enum Mood {
            Happy,
            #[pgspan(rename = "happy")]
            Glad,
        }
    ));
    assert!(message.contains("`Happy` has the label `happy` already"), "{message}");
}

#[test]
fn a_variant_without_letters_needs_a_label_of_its_own() {
    let message = error(quote!(
        enum Mood {
            __,
        }
    ));
    assert!(message.contains("rename"), "{message}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let message = error(quote!(
        #[pgspan(rename_all = "loud")]
        enum Mood {
            Happy(u8),
            Sad {
                why: String,
            },
            #[pgspan(name = "so-so")]
            Neutral,
        }
    ));
    assert_eq!(message.lines().count(), 4, "{message}");
}

#[test]
fn what_cannot_be_a_postgresql_enum_is_an_error_that_says_why() {
    let enums = "Enum is for enums without fields";
    for (input, expected) in [
        (
            quote!(
                struct Mood {
                    happy: bool,
                }
            ),
            enums,
        ),
        (quote!(union Mood { happy: bool }), enums),
        (
            quote!(
                enum Mood {}
            ),
            "no variants",
        ),
        (
            quote!(
                enum Mood<const N: usize> {
                    Happy,
                }
            ),
            "remove the generics",
        ),
    ] {
        let message = error(input);
        assert!(message.contains(expected), "{message}");
    }
}
