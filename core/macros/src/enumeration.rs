//! `#[derive(Enum)]`: a field-less enum that stands for a PostgreSQL enum and travels as text.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Fields, LitByteStr, Visibility};

use crate::attributes::{self, all_or_errors};
use crate::case::Case;

/// Expands the derive for one type.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let variants = variants(&input)?;
    let name = &input.ident;
    let label = label(&input.vis, name, &variants);
    let to_sql = to_sql(name);
    let from_sql = from_sql(name, &variants);
    Ok(quote! {
        #label
        #to_sql
        #from_sql

        #[automatically_derived]
        impl ::pgspan::Param for #name {
            const TYPE: ::pgspan::types::Type = ::pgspan::types::Type::UNKNOWN;
        }

        #[automatically_derived]
        impl ::pgspan::ArrayElement for #name {
            const ARRAY: ::pgspan::types::Type = ::pgspan::types::Type::TEXT_ARRAY;
        }

        #[automatically_derived]
        impl ::pgspan::FromRow for #name {
            const COLUMNS: ::std::option::Option<&'static [&'static str]> = ::std::option::Option::None;

            fn from_row(row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                row.scalar()
            }
        }
    })
}

/// A variant and the label PostgreSQL knows it by.
struct Variant<'a> {
    ident: &'a Ident,
    label: String,
}

/// The variants, after everything that could be wrong with them has been looked for.
fn variants(input: &DeriveInput) -> syn::Result<Vec<Variant<'_>>> {
    let at_name = |message: &str| syn::Error::new(input.ident.span(), message);
    let Data::Enum(data) = &input.data else {
        return Err(at_name("Enum is for enums without fields: a struct is a composite, derive `Composite`"));
    };
    if data.variants.is_empty() {
        return Err(at_name("this enum has no variants: give it one for each label of the PostgreSQL enum"));
    }
    if !input.generics.params.is_empty() {
        let message = "a PostgreSQL enum has no parameters: remove the generics";
        return Err(syn::Error::new_spanned(&input.generics, message));
    }

    let mut errors = Vec::new();
    let case = attributes::rename_all(&input.attrs).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for variant in &data.variants {
        let ident = &variant.ident;
        if !matches!(variant.fields, Fields::Unit) {
            let message = "a label of a PostgreSQL enum has no fields: remove them";
            errors.push(syn::Error::new_spanned(&variant.fields, message));
        }
        let label = match attributes::rename(&variant.attrs) {
            Ok(Some(label)) => label,
            Ok(None) => case.unwrap_or(Case::Snake).apply(&ident.unraw().to_string()),
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if label.is_empty() {
            let message = "nothing of this name is left for a label: write `#[pgspan(rename = \"…\")]`";
            errors.push(syn::Error::new(ident.span(), message));
        }
        if let Some(other) = variants.iter().find(|other| other.label == label) {
            let message = format!("`{}` has the label `{label}` already: rename one of the two", other.ident);
            errors.push(syn::Error::new(ident.span(), message));
        }
        variants.push(Variant { ident, label });
    }
    all_or_errors(variants, errors)
}

fn label(visibility: &Visibility, name: &Ident, variants: &[Variant<'_>]) -> TokenStream {
    let arms = variants.iter().map(|Variant { ident, label }| quote!(Self::#ident => #label));
    quote! {
        #[automatically_derived]
        impl #name {
            /// The label that PostgreSQL knows this variant by.
            #visibility const fn label(&self) -> &'static str {
                match self {
                    #(#arms,)*
                }
            }
        }
    }
}

fn to_sql(name: &Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::pgspan::types::ToSql for #name {
            fn to_sql(
                &self,
                _: &::pgspan::types::Type,
                out: &mut ::pgspan::types::private::BytesMut,
            ) -> ::std::result::Result<
                ::pgspan::types::IsNull,
                ::std::boxed::Box<dyn ::std::error::Error + ::std::marker::Sync + ::std::marker::Send>,
            > {
                out.extend_from_slice(self.label().as_bytes());
                ::std::result::Result::Ok(::pgspan::types::IsNull::No)
            }

            fn accepts(_: &::pgspan::types::Type) -> bool {
                true
            }

            fn encode_format(&self, _: &::pgspan::types::Type) -> ::pgspan::types::Format {
                ::pgspan::types::Format::Text
            }

            ::pgspan::types::to_sql_checked!();
        }
    }
}

fn from_sql(name: &Ident, variants: &[Variant<'_>]) -> TokenStream {
    let arms = variants.iter().map(|Variant { ident, label }| {
        let label = LitByteStr::new(label.as_bytes(), ident.span());
        quote!(#label => ::std::result::Result::Ok(Self::#ident))
    });
    // The value stays out of the message: errors are logged.
    let unknown = format!("not a label of enum {}", name.unraw());
    quote! {
        #[automatically_derived]
        impl<'a> ::pgspan::types::FromSql<'a> for #name {
            fn from_sql(
                _: &::pgspan::types::Type,
                raw: &'a [u8],
            ) -> ::std::result::Result<
                Self,
                ::std::boxed::Box<dyn ::std::error::Error + ::std::marker::Sync + ::std::marker::Send>,
            > {
                match raw {
                    #(#arms,)*
                    _ => ::std::result::Result::Err(::std::convert::From::from(#unknown)),
                }
            }

            fn accepts(ty: &::pgspan::types::Type) -> bool {
                *ty == ::pgspan::types::Type::TEXT
                    || *ty == ::pgspan::types::Type::VARCHAR
                    || *ty == ::pgspan::types::Type::BPCHAR
                    || *ty == ::pgspan::types::Type::NAME
                    || *ty == ::pgspan::types::Type::UNKNOWN
            }
        }
    }
}

#[cfg(test)]
mod tests;
