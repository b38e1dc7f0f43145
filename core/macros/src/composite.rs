//! `#[derive(Composite)]`: a struct that stands for a PostgreSQL composite type and travels as jsonb.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DataStruct, DeriveInput, Field, Fields};

/// Expands the derive for one type.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    check(&input)?;
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl ::pgspan::types::ToSql for #name {
            fn to_sql(
                &self,
                ty: &::pgspan::types::Type,
                out: &mut ::pgspan::types::private::BytesMut,
            ) -> ::std::result::Result<
                ::pgspan::types::IsNull,
                ::std::boxed::Box<dyn ::std::error::Error + ::std::marker::Sync + ::std::marker::Send>,
            > {
                <::pgspan::Json<&Self> as ::pgspan::types::ToSql>::to_sql(&::pgspan::Json(self), ty, out)
            }

            fn accepts(ty: &::pgspan::types::Type) -> bool {
                *ty == ::pgspan::types::Type::JSONB || *ty == ::pgspan::types::Type::JSON
            }

            ::pgspan::types::to_sql_checked!();
        }

        #[automatically_derived]
        impl<'a> ::pgspan::types::FromSql<'a> for #name {
            fn from_sql(
                ty: &::pgspan::types::Type,
                raw: &'a [u8],
            ) -> ::std::result::Result<
                Self,
                ::std::boxed::Box<dyn ::std::error::Error + ::std::marker::Sync + ::std::marker::Send>,
            > {
                let ::pgspan::Json(value) =
                    <::pgspan::Json<Self> as ::pgspan::types::FromSql<'a>>::from_sql(ty, raw)?;
                ::std::result::Result::Ok(value)
            }

            fn accepts(ty: &::pgspan::types::Type) -> bool {
                *ty == ::pgspan::types::Type::JSONB || *ty == ::pgspan::types::Type::JSON
            }
        }

        #[automatically_derived]
        impl ::pgspan::Param for #name {
            const TYPE: ::pgspan::types::Type = ::pgspan::types::Type::JSONB;
        }

        #[automatically_derived]
        impl ::pgspan::ArrayElement for #name {
            const ARRAY: ::pgspan::types::Type = ::pgspan::types::Type::JSONB_ARRAY;
        }
    })
}

/// Only a struct with named fields becomes a JSON object, and only an object becomes a row.
fn check(input: &DeriveInput) -> syn::Result<()> {
    match &input.data {
        Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) => {
            if let Some(field) = fields.named.iter().find(|field| is_bytes(field)) {
                let message = "JSON has no form for bytes, and a bytea attribute would get the text of a list of numbers: \
                               write them as text with `#[serde(with = \"…\")]`, as `\\x` and hexadecimal digits";
                return Err(syn::Error::new_spanned(&field.ty, message));
            }
        }
        Data::Enum(_) => {
            let message =
                "Composite is for structs with named fields: for an enum without fields derive `Enum`";
            return Err(syn::Error::new(input.ident.span(), message));
        }
        _ => {
            let message =
                "Composite is for structs with named fields: name the fields like the type's attributes";
            return Err(syn::Error::new(input.ident.span(), message));
        }
    }
    if !input.generics.params.is_empty() {
        let message = "a composite type has no parameters: remove the generics";
        return Err(syn::Error::new_spanned(&input.generics, message));
    }
    Ok(())
}

/// Whether serde would write a field as a list of numbers that are bytes.
fn is_bytes(field: &Field) -> bool {
    let by_serde = field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let is_converted = by_serde.into_iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        ["with", "skip", "into"].iter().any(|key| text.contains(key))
    });
    let ty = field.ty.to_token_stream().to_string().replace(' ', "");
    let has_bytes = ["Vec<u8>", "[u8]", "[u8;"].iter().any(|bytes| ty.contains(bytes));
    has_bytes && !is_converted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(expansion: &TokenStream, expected: TokenStream) {
        let (expansion, expected) = (expansion.to_string(), expected.to_string());
        assert!(expansion.contains(&expected), "{expected}\nis not in\n{expansion}");
    }

    #[test]
    fn a_struct_travels_as_jsonb_by_way_of_json() {
        let address = expand(quote!(
            pub struct Address {
                street: String,
                #[serde(rename = "town")]
                city: Option<String>,
            }
        ))
        .unwrap();
        let file: syn::File = syn::parse2(address.clone()).unwrap();
        assert_eq!(file.items.len(), 4, "ToSql, FromSql, Param, ArrayElement");
        contains(&address, quote!(to_sql(&::pgspan::Json(self), ty, out)));
        contains(
            &address,
            quote!(<::pgspan::Json<Self> as ::pgspan::types::FromSql<'a>>::from_sql(ty, raw)?),
        );
        contains(
            &address,
            quote!(
                const TYPE: ::pgspan::types::Type = ::pgspan::types::Type::JSONB;
            ),
        );
        contains(
            &address,
            quote!(
                const ARRAY: ::pgspan::types::Type = ::pgspan::types::Type::JSONB_ARRAY;
            ),
        );
    }

    #[test]
    fn bytes_are_no_json() {
        for ty in [
            quote!(Vec<u8>),
            quote!(Option<Vec<u8>>),
            quote!(&'static [u8]),
            quote!([u8; 4]),
            quote!(Box<[u8]>),
        ] {
            let message = expand(quote!(struct Key { bytes: #ty })).unwrap_err().to_string();
            assert!(message.contains("bytes"), "{message}");
            assert!(expand(quote!(struct Key { #[serde(with = "hex")] bytes: #ty })).is_ok());
        }
        assert!(
            expand(quote!(
                struct Key {
                    a: Vec<u16>,
                    b: u8,
                    c: HashMap<u8, String>,
                }
            ))
            .is_ok()
        );
    }

    #[test]
    fn what_cannot_be_a_row_is_an_error_that_says_why() {
        for (input, expected) in [
            (
                quote!(
                    enum Address {
                        Street,
                    }
                ),
                "derive `Enum`",
            ),
            (
                quote!(
                    struct Address(String);
                ),
                "name the fields",
            ),
            (
                quote!(
                    struct Address;
                ),
                "name the fields",
            ),
            (quote!(union Address { street: u8 }), "name the fields"),
            (
                quote!(
                    struct Address<T> {
                        street: T,
                    }
                ),
                "remove the generics",
            ),
            (
                quote!(
                    struct Address<'a> {
                        street: &'a str,
                    }
                ),
                "remove the generics",
            ),
        ] {
            let message = expand(input).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
