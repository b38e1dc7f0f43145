//! `#[derive(FromRow)]`: a struct read by the names of a row's columns.

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Fields, Generics, Type, parse_quote};

use crate::attributes::{self, all_or_errors};

/// Expands the derive for one type.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let Data::Struct(data) = &input.data else { return Err(unsupported(&input)) };
    let fields: Vec<&Field> = data.fields.iter().collect();
    let Body { columns, value, row } = match (&data.fields, fields.as_slice()) {
        (Fields::Named(_), fields) => named(&input, fields)?,
        (Fields::Unnamed(_), [field]) => newtype(&input, field)?,
        _ => return Err(unsupported(&input)),
    };

    let name = &input.ident;
    let generics = bounded(&input.generics, &fields);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::pgspan::FromRow for #name #type_generics #where_clause {
            const COLUMNS: ::std::option::Option<&'static [&'static str]> = #columns;

            fn from_row(#row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                ::std::result::Result::Ok(#value)
            }
        }
    })
}

/// What differs between the two kinds of structs.
struct Body {
    columns: TokenStream,
    value: TokenStream,
    /// The parameter's name: an underscore where nothing is read from it.
    row: TokenStream,
}

/// A struct with named fields: each is a column.
fn named(input: &DeriveInput, fields: &[&Field]) -> syn::Result<Body> {
    let mut errors = Vec::new();
    let case = attributes::rename_all(&input.attrs).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let mut columns: Vec<String> = Vec::new();
    let mut values = Vec::new();
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let name = ident.unraw().to_string();
        let column = match attributes::rename(&field.attrs) {
            Ok(Some(column)) => column,
            Ok(None) => case.map_or_else(|| name.clone(), |case| case.apply(&name)),
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if columns.contains(&column) {
            let message = format!("two fields for the column `{column}`: remove one, or rename it");
            errors.push(syn::Error::new(ident.span(), message));
        }
        let index = Literal::usize_unsuffixed(columns.len());
        let read = quote_spanned!(at(&field.ty)=> row.field(#index, #column)?);
        values.push(quote!(#ident: #read));
        columns.push(column);
    }
    let row = if columns.is_empty() { quote!(_) } else { quote!(row) };
    let columns = quote!(::std::option::Option::Some(&[#(#columns),*]));
    all_or_errors(Body { columns, value: quote!(Self { #(#values),* }), row }, errors)
}

/// A struct with one unnamed field: the only column of the row.
fn newtype(input: &DeriveInput, field: &Field) -> syn::Result<Body> {
    let why = "a struct with one unnamed field is read from the only column, whatever its name: remove the attribute, or \
               name the field";
    attributes::refuse(&input.attrs, why)?;
    attributes::refuse(&field.attrs, why)?;
    let read = quote_spanned!(at(&field.ty)=> row.scalar()?);
    let columns = quote!(::std::option::Option::None);
    Ok(Body { columns, value: quote!(Self(#read)), row: quote!(row) })
}

/// Where the type is written, so that the compiler says there that it can't be read from a column; but in the
/// derive's own scope, since a macro may have written the type.
fn at(ty: &Type) -> Span {
    Span::call_site().located_at(ty.span())
}

/// The type's own bounds, and `FromColumn` for the fields that a type parameter decides.
fn bounded(generics: &Generics, fields: &[&Field]) -> Generics {
    let parameters: Vec<String> =
        generics.type_params().map(|parameter| parameter.ident.to_string()).collect();
    let mut generics = generics.clone();
    let mut seen = Vec::new();
    for Field { ty, .. } in fields {
        let text = ty.to_token_stream().to_string();
        if mentions(ty.to_token_stream(), &parameters) && !seen.contains(&text) {
            generics.make_where_clause().predicates.push(parse_quote!(#ty: ::pgspan::FromColumn));
            seen.push(text);
        }
    }
    generics
}

fn mentions(tokens: TokenStream, names: &[String]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.iter().any(|name| ident == name),
        TokenTree::Group(group) => mentions(group.stream(), names),
        _ => false,
    })
}

fn unsupported(input: &DeriveInput) -> syn::Error {
    syn::Error::new(
        input.ident.span(),
        "FromRow is for structs with named fields and structs with one unnamed field: name the fields, or read \
         the row as a tuple",
    )
}

#[cfg(test)]
mod tests;
