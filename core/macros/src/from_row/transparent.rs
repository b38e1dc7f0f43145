//! `#[pgspan(transparent)]`: a struct with one field that is a column and a parameter as its field is.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, Field};

use crate::attributes;

pub(super) fn expand(input: &DeriveInput, field: &Field) -> syn::Result<TokenStream> {
    attributes::refuse(&field.attrs, "a transparent struct is what its field is: remove the attribute")?;
    if !input.generics.params.is_empty() {
        let message = "a transparent struct has no parameters: remove the generics";
        return Err(syn::Error::new_spanned(&input.generics, message));
    }
    let (name, ty) = (&input.ident, &field.ty);
    let member = field.ident.as_ref().map_or_else(|| quote!(0), ToTokens::to_token_stream);
    let fault = quote! {
        ::std::boxed::Box<dyn ::std::error::Error + ::std::marker::Sync + ::std::marker::Send>
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::pgspan::types::ToSql for #name {
            fn to_sql(
                &self,
                ty: &::pgspan::types::Type,
                out: &mut ::pgspan::types::private::BytesMut,
            ) -> ::std::result::Result<::pgspan::types::IsNull, #fault> {
                <#ty as ::pgspan::types::ToSql>::to_sql(&self.#member, ty, out)
            }

            fn accepts(ty: &::pgspan::types::Type) -> bool {
                <#ty as ::pgspan::types::ToSql>::accepts(ty)
            }

            fn encode_format(&self, ty: &::pgspan::types::Type) -> ::pgspan::types::Format {
                <#ty as ::pgspan::types::ToSql>::encode_format(&self.#member, ty)
            }

            ::pgspan::types::to_sql_checked!();
        }

        #[automatically_derived]
        impl<'a> ::pgspan::types::FromSql<'a> for #name {
            fn from_sql(
                ty: &::pgspan::types::Type,
                raw: &'a [u8],
            ) -> ::std::result::Result<Self, #fault> {
                let value = ::pgspan::macros::from_sql_exact::<#ty>(ty, raw)?;
                ::std::result::Result::Ok(Self { #member: value })
            }

            fn from_sql_null(ty: &::pgspan::types::Type) -> ::std::result::Result<Self, #fault> {
                let value = <#ty as ::pgspan::types::FromSql<'a>>::from_sql_null(ty)?;
                ::std::result::Result::Ok(Self { #member: value })
            }

            fn accepts(ty: &::pgspan::types::Type) -> bool {
                <#ty as ::pgspan::types::FromSql<'a>>::accepts(ty)
            }
        }

        #[automatically_derived]
        impl ::pgspan::Param for #name {
            const TYPE: ::pgspan::types::Type = <#ty as ::pgspan::Param>::TYPE;
        }

        #[automatically_derived]
        impl ::pgspan::ArrayElement for #name {
            const ARRAY: ::pgspan::types::Type = <#ty as ::pgspan::ArrayElement>::ARRAY;
        }

        #[automatically_derived]
        impl ::pgspan::FromRow for #name {
            fn from_row(row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                row.scalar()
            }
        }
    })
}
