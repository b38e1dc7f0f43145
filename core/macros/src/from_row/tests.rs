use super::*;

fn expands(input: TokenStream, expected: TokenStream) {
    let expansion = expand(input).unwrap();
    syn::parse2::<syn::ItemImpl>(expansion.clone()).unwrap();
    assert_eq!(expansion.to_string(), expected.to_string());
}

fn error(input: TokenStream) -> String {
    let error = expand(input).unwrap_err();
    error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

/// The expansion with this signature, columns and value.
fn implementation(
    head: TokenStream,
    row: TokenStream,
    columns: TokenStream,
    value: TokenStream,
) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl #head {
            const COLUMNS: ::std::option::Option<&'static [&'static str]> = #columns;
            const OPTIONAL: &'static [&'static str] = &[];
            const DENIES_UNKNOWN: bool = false;

            fn from_row(row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                row.check::<Self>()?;
                <Self as ::pgspan::FromRow>::from_checked(row)
            }

            fn from_checked(#row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                ::std::result::Result::Ok(#value)
            }
        }
    }
}

#[test]
fn every_field_is_a_column_of_its_name() {
    expands(
        quote!(
            struct User {
                id: i64,
                pub name: Option<String>,
            }
        ),
        implementation(
            quote!(::pgspan::FromRow for User),
            quote!(row),
            quote!(::std::option::Option::Some(&["id", "name"])),
            quote!(Self { id: row.field(0, "id")?, name: row.field(1, "name")? }),
        ),
    );
}

#[test]
fn a_field_can_be_renamed_and_a_raw_name_is_the_name_without_its_mark() {
    expands(
        quote!(
            struct Odd {
                r#type: i32,
                #[pgspan(rename = "a-b")]
                a: i32,
            }
        ),
        implementation(
            quote!(::pgspan::FromRow for Odd),
            quote!(row),
            quote!(::std::option::Option::Some(&["type", "a-b"])),
            quote!(Self { r#type: row.field(0, "type")?, a: row.field(1, "a-b")? }),
        ),
    );
}

#[test]
fn all_fields_can_be_renamed_but_the_single_rename_wins() {
    expands(
        quote!(
            #[pgspan(rename_all = "camelCase")]
            struct User {
                user_id: i64,
                #[pgspan(rename = "full_name")]
                full_name: String,
            }
        ),
        implementation(
            quote!(::pgspan::FromRow for User),
            quote!(row),
            quote!(::std::option::Option::Some(&["userId", "full_name"])),
            quote!(Self { user_id: row.field(0, "userId")?, full_name: row.field(1, "full_name")? }),
        ),
    );
}

#[test]
fn a_struct_without_fields_reads_a_row_without_columns() {
    expands(
        quote!(
            struct Nothing {}
        ),
        implementation(
            quote!(::pgspan::FromRow for Nothing),
            quote!(_),
            quote!(::std::option::Option::Some(&[])),
            quote!(Self {}),
        ),
    );
}

#[test]
fn a_newtype_is_the_only_column() {
    expands(
        quote!(
            struct Count(i64);
        ),
        implementation(
            quote!(::pgspan::FromRow for Count),
            quote!(row),
            quote!(::std::option::Option::None),
            quote!(Self(row.scalar()?)),
        ),
    );
}

#[test]
fn generics_and_where_clauses_are_carried_and_bounds_added_where_a_type_parameter_decides() {
    expands(
        quote!(
            struct Pair<'a, T: Clone, const N: usize>
            where
                T: Send,
            {
                one: T,
                more: Vec<T>,
                another: T,
                name: Name<'a>,
                bytes: [u8; N],
            }
        ),
        implementation(
            quote!(<'a, T: Clone, const N: usize> ::pgspan::FromRow for Pair<'a, T, N>
                where T: Send, T: ::pgspan::FromColumn, Vec<T>: ::pgspan::FromColumn),
            quote!(row),
            quote!(::std::option::Option::Some(&["one", "more", "another", "name", "bytes"])),
            quote!(Self {
                one: row.field(0, "one")?,
                more: row.field(1, "more")?,
                another: row.field(2, "another")?,
                name: row.field(3, "name")?,
                bytes: row.field(4, "bytes")?
            }),
        ),
    );
}

#[test]
fn two_fields_for_one_column_are_an_error() {
    let message = error(quote!(
        struct User {
            id: i64,
            #[pgspan(rename = "id")]
            number: i64,
        }
    ));
    assert!(message.contains("two fields for the column `id`"), "{message}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let message = error(quote!(
        #[pgspan(rename_all = "loud")]
        struct User {
            #[pgspan(rename = "")]
            id: i64,
            #[pgspan(nothing)]
            name: String,
        }
    ));
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn what_has_no_columns_is_an_error_that_says_what_has() {
    for input in [
        quote!(
            struct Unit;
        ),
        quote!(
            struct Two(i32, i32);
        ),
        quote!(
            struct None();
        ),
        quote!(
            enum Mood {
                Happy,
            }
        ),
        quote!(
            union Both {
                a: u8,
                b: i8,
            }
        ),
    ] {
        let message = error(input);
        assert!(message.contains("structs with named fields"), "{message}");
    }
}

#[test]
fn a_newtype_has_nothing_to_rename() {
    for input in [
        quote!(
            struct Count(#[pgspan(rename = "count")] i64);
        ),
        quote!(
            #[pgspan(rename_all = "camelCase")]
            struct Count(i64);
        ),
    ] {
        let message = error(input);
        assert!(message.contains("only column"), "{message}");
    }
}

#[test]
fn a_field_says_where_its_value_comes_from() {
    let expansion = expand(quote!(
        #[pgspan(deny_unknown_columns)]
        struct User {
            id: i64,
            #[pgspan(default)]
            age: i32,
            #[pgspan(json)]
            profile: Profile,
            #[pgspan(skip)]
            cache: Cache,
        }
    ))
    .unwrap()
    .to_string();
    for expected in [
        quote!(Some(&["id", "profile"])),
        quote!(
            const OPTIONAL: &'static [&'static str] = &["age"];
        ),
        quote!(
            const DENIES_UNKNOWN: bool = true;
        ),
        quote!(id: row.field(0, "id")?),
        quote!(age: row.field_or_default(1, "age")?),
        quote!(profile: row.json_field(2, "profile")?),
        quote!(cache: ::std::default::Default::default()),
    ] {
        assert!(expansion.contains(&expected.to_string()), "{expected} is not in {expansion}");
    }
}

#[test]
fn a_flattened_field_is_read_from_the_same_row() {
    let expansion = expand(quote!(
        struct Line {
            id: i64,
            #[pgspan(flatten)]
            page: Page,
        }
    ))
    .unwrap()
    .to_string();
    let expected = quote!(page: <Page as ::pgspan::FromRow>::from_row(row)?).to_string();
    assert!(expansion.contains(&expected), "{expansion}");
    let message = error(quote!(
        #[pgspan(deny_unknown_columns)]
        struct Line {
            #[pgspan(flatten)]
            page: Page,
        }
    ));
    assert!(message.contains("flatten"), "{message}");
}

#[test]
fn a_transparent_struct_is_a_column_and_a_parameter() {
    for (input, member) in [
        (
            quote!(
                struct UserId(i64);
            ),
            quote!(&self.0),
        ),
        (
            quote!(
                struct UserId {
                    number: i64,
                }
            ),
            quote!(&self.number),
        ),
    ] {
        let file: syn::File = syn::parse2(expand(quote!(#[pgspan(transparent)] #input)).unwrap()).unwrap();
        assert_eq!(file.items.len(), 5, "ToSql, FromSql, Param, ArrayElement, FromRow");
        assert!(quote!(#file).to_string().contains(&member.to_string()));
    }
    for input in [
        quote!(
            struct Two {
                a: i64,
                b: i64,
            }
        ),
        quote!(
            struct Id<T>(T);
        ),
        quote!(
            struct Id(#[pgspan(json)] i64);
        ),
    ] {
        error(quote!(#[pgspan(transparent)] #input));
    }
}
