//! `#[derive(FromRow)]`: a struct read by the names of a row's columns.

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Fields, Generics, Type, parse_quote};

mod transparent;

use crate::attributes::{self, OfStruct, Source, all_or_errors};

/// Expands the derive for one type.
pub(crate) fn expand(input: TokenStream) -> syn::Result<TokenStream> {
    let input: DeriveInput = syn::parse2(input)?;
    let Data::Struct(data) = &input.data else { return Err(unsupported(&input)) };
    let fields: Vec<&Field> = data.fields.iter().collect();
    let of_struct = attributes::of_struct(&input.attrs);
    if let (Ok(OfStruct { is_transparent: true, .. }), [field]) = (&of_struct, fields.as_slice()) {
        return transparent::expand(&input, field);
    }
    let body = match (&data.fields, fields.as_slice()) {
        (Fields::Named(_), fields) => named(&input, of_struct, fields)?,
        (Fields::Unnamed(_), [field]) => newtype(&input, field)?,
        _ => return Err(unsupported(&input)),
    };
    let Body { columns, optional, denies_unknown, value, row, read } = body;

    let name = &input.ident;
    let generics = bounded(&input.generics, &read);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::pgspan::FromRow for #name #type_generics #where_clause {
            const COLUMNS: ::std::option::Option<&'static [&'static str]> = #columns;
            const OPTIONAL: &'static [&'static str] = &[#(#optional),*];
            const DENIES_UNKNOWN: bool = #denies_unknown;

            fn from_row(row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                row.check::<Self>()?;
                <Self as ::pgspan::FromRow>::from_checked(row)
            }

            fn from_checked(#row: &::pgspan::Row) -> ::std::result::Result<Self, ::pgspan::Error> {
                ::std::result::Result::Ok(#value)
            }
        }
    })
}

/// What differs between the kinds of structs.
struct Body<'f> {
    columns: TokenStream,
    /// Columns that need not be there.
    optional: Vec<String>,
    denies_unknown: bool,
    value: TokenStream,
    /// The parameter's name: an underscore where nothing is read from it.
    row: TokenStream,
    /// The fields that are read from columns of any type.
    read: Vec<&'f Field>,
}

/// A struct with named fields: each is a column, unless it says otherwise.
fn named<'f>(
    input: &DeriveInput,
    of_struct: syn::Result<OfStruct>,
    fields: &[&'f Field],
) -> syn::Result<Body<'f>> {
    let mut errors = Vec::new();
    let of_struct = of_struct.unwrap_or_else(|error| {
        errors.push(error);
        OfStruct::default()
    });
    if of_struct.is_transparent {
        let message = "transparent is for structs with one field: remove it";
        errors.push(syn::Error::new(input.ident.span(), message));
    }
    let (mut columns, mut optional): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut values, mut read, mut reads_row) = (Vec::new(), Vec::new(), false);
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let of_field = match attributes::of_field(&field.attrs) {
            Ok(of_field) => of_field,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let (ty, span) = (&field.ty, at(&field.ty));
        reads_row |= of_field.source != Source::Default;
        match of_field.source {
            Source::Default => {
                values.push(quote_spanned!(span=> #ident: ::std::default::Default::default()));
                continue;
            }
            Source::Row => {
                if of_struct.denies_unknown {
                    let message = "which columns are unknown can't be told beside `flatten`: remove deny_unknown_columns";
                    errors.push(syn::Error::new(ident.span(), message));
                }
                values.push(quote_spanned!(span=> #ident: <#ty as ::pgspan::FromRow>::from_row(row)?));
                continue;
            }
            Source::Column | Source::DefaultColumn | Source::Json => {}
        }
        let name = ident.unraw().to_string();
        let cased = || of_struct.rename_all.map_or_else(|| name.clone(), |case| case.apply(&name));
        let column = of_field.rename.unwrap_or_else(cased);
        if columns.contains(&column) || optional.contains(&column) {
            let message = format!("two fields for the column `{column}`: remove one, or rename it");
            errors.push(syn::Error::new(ident.span(), message));
        }
        let index = Literal::usize_unsuffixed(columns.len() + optional.len());
        let method = match of_field.source {
            Source::Json => quote_spanned!(span=> json_field),
            Source::DefaultColumn => quote_spanned!(span=> field_or_default),
            _ => quote_spanned!(span=> field),
        };
        let value = quote_spanned!(span=> row.#method(#index, #column)?);
        values.push(quote!(#ident: #value));
        match of_field.source {
            Source::DefaultColumn => optional.push(column),
            _ => columns.push(column),
        }
        if of_field.source != Source::Json {
            read.push(*field);
        }
    }
    let row = if reads_row { quote!(row) } else { quote!(_) };
    let columns = quote!(::std::option::Option::Some(&[#(#columns),*]));
    let value = quote!(Self { #(#values),* });
    let denies_unknown = of_struct.denies_unknown;
    all_or_errors(Body { columns, optional, denies_unknown, value, row, read }, errors)
}

/// A struct with one unnamed field: the only column of the row.
fn newtype<'f>(input: &DeriveInput, field: &'f Field) -> syn::Result<Body<'f>> {
    let why = "a struct with one unnamed field is read from the only column, whatever its name: remove the attribute, or \
               name the field; `transparent` on the struct makes it a column and a parameter of any row";
    attributes::refuse(&input.attrs, why)?;
    attributes::refuse(&field.attrs, why)?;
    let value = quote_spanned!(at(&field.ty)=> row.scalar()?);
    Ok(Body {
        columns: quote!(::std::option::Option::None),
        optional: Vec::new(),
        denies_unknown: false,
        value: quote!(Self(#value)),
        row: quote!(row),
        read: vec![field],
    })
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
