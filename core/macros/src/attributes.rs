//! `#[pgspan(…)]`: what may be written there, and the errors when something else is.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, LitStr};

use crate::case::Case;

/// What a variant of an enum may say.
const VARIANT: &[Key] = &[Key::with_value("rename")];
/// What an enum may say.
const ENUM: &[Key] = &[Key::with_value("rename_all")];
/// What a field of a struct may say.
const FIELD: &[Key] = &[
    Key::with_value("rename"),
    Key::word("default"),
    Key::word("skip"),
    Key::word("flatten"),
    Key::word("json"),
];
/// What a struct may say.
const STRUCT: &[Key] =
    &[Key::with_value("rename_all"), Key::word("deny_unknown_columns"), Key::word("transparent")];

/// `rename = "…"`, on a variant.
pub(crate) fn rename(attributes: &[Attribute]) -> syn::Result<Option<String>> {
    renamed(&given(attributes, VARIANT)?)
}

/// `rename_all = "…"`, on an enum.
pub(crate) fn rename_all(attributes: &[Attribute]) -> syn::Result<Option<Case>> {
    case(&given(attributes, ENUM)?)
}

/// How a field gets its value.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OfField {
    pub(crate) rename: Option<String>,
    pub(crate) source: Source,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    #[default]
    Column,
    /// Its column, or its default where there is none.
    DefaultColumn,
    /// A column of json.
    Json,
    /// Always its default.
    Default,
    /// Columns of its own.
    Row,
}

/// What stands on a field of a struct.
pub(crate) fn of_field(attributes: &[Attribute]) -> syn::Result<OfField> {
    let given = given(attributes, FIELD)?;
    let mut sources = given.iter().filter_map(|given| {
        let source = match given.key {
            "default" => Source::DefaultColumn,
            "skip" => Source::Default,
            "flatten" => Source::Row,
            "json" => Source::Json,
            _ => return None,
        };
        Some((source, given))
    });
    let source = sources.next();
    if let (Some((_, one)), Some((_, other))) = (source, sources.next()) {
        let message = format!("`{}` and `{}` exclude each other: remove one", one.key, other.key);
        return Err(syn::Error::new(other.span, message));
    }
    let (source, rename) = (source.map_or(Source::Column, |(source, _)| source), renamed(&given)?);
    if let (Some(_), Source::Default | Source::Row) = (&rename, source)
        && let Some(given) = given.iter().find(|given| given.key == "rename")
    {
        return Err(syn::Error::new(given.span, "this field has no column of its own: remove the `rename`"));
    }
    Ok(OfField { rename, source })
}

/// What stands on a struct.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OfStruct {
    pub(crate) rename_all: Option<Case>,
    pub(crate) denies_unknown: bool,
    pub(crate) is_transparent: bool,
}

pub(crate) fn of_struct(attributes: &[Attribute]) -> syn::Result<OfStruct> {
    let given = given(attributes, STRUCT)?;
    let has = |key: &str| given.iter().any(|given| given.key == key);
    Ok(OfStruct {
        rename_all: case(&given)?,
        denies_unknown: has("deny_unknown_columns"),
        is_transparent: has("transparent"),
    })
}

fn renamed(given: &[Given]) -> syn::Result<Option<String>> {
    let Some(name) = value(given, "rename") else { return Ok(None) };
    if name.value().is_empty() {
        return Err(syn::Error::new(name.span(), "the name is empty: write one, or remove `rename`"));
    }
    Ok(Some(name.value()))
}

fn case(given: &[Given]) -> syn::Result<Option<Case>> {
    let Some(name) = value(given, "rename_all") else { return Ok(None) };
    match Case::ALL.iter().find(|(known, _)| name.value() == *known) {
        Some((_, case)) => Ok(Some(*case)),
        None => {
            let known = Case::ALL.map(|(known, _)| format!("`{known}`")).join(", ");
            Err(syn::Error::new(name.span(), format!("rename_all knows {known}")))
        }
    }
}

fn value<'g>(given: &'g [Given], key: &str) -> Option<&'g LitStr> {
    given.iter().find(|given| given.key == key)?.value.as_ref()
}

/// No `#[pgspan(…)]` at all, and why not.
pub(crate) fn refuse(attributes: &[Attribute], why: &str) -> syn::Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("pgspan")) {
        Some(attribute) => Err(syn::Error::new_spanned(attribute, why)),
        None => Ok(()),
    }
}

/// The value, or all errors in one, so that a user sees them at once.
pub(crate) fn all_or_errors<T>(value: T, errors: Vec<syn::Error>) -> syn::Result<T> {
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    match all {
        Some(all) => Err(all),
        None => Ok(value),
    }
}

/// A key that may be written somewhere.
struct Key {
    name: &'static str,
    has_value: bool,
}

impl Key {
    const fn word(name: &'static str) -> Key {
        Key { name, has_value: false }
    }

    const fn with_value(name: &'static str) -> Key {
        Key { name, has_value: true }
    }

    fn shown(&self) -> String {
        match (self.name, self.has_value) {
            (name, true) => format!("`#[pgspan({name} = \"…\")]`"),
            (name, false) => format!("`#[pgspan({name})]`"),
        }
    }
}

/// A key that was written.
struct Given {
    key: &'static str,
    value: Option<LitStr>,
    span: Span,
}

fn given(attributes: &[Attribute], known: &[Key]) -> syn::Result<Vec<Given>> {
    let mut all: Vec<Given> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("pgspan")) {
        attribute.parse_nested_meta(|meta| {
            let Some(key) = known.iter().find(|key| meta.path.is_ident(key.name)) else {
                let shown: Vec<String> = known.iter().map(Key::shown).collect();
                let all = if shown.len() == 1 { "is all there is" } else { "are all there are" };
                return Err(meta.error(format!("unknown key: {} {all} here", shown.join(", "))));
            };
            if all.iter().any(|given| given.key == key.name) {
                return Err(meta.error(format!("`{}` is given twice: remove one of the two", key.name)));
            }
            let value = match key.has_value {
                true => Some(meta.value()?.parse()?),
                false => None,
            };
            all.push(Given { key: key.name, value, span: meta.path.span() });
            Ok(())
        })?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn error<T: std::fmt::Debug>(result: syn::Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn nothing_written_is_nothing_asked() {
        assert_eq!(rename(&[parse_quote!(#[doc = "text"])]).unwrap(), None);
        assert_eq!(rename_all(&[]).unwrap(), None);
    }

    #[test]
    fn a_name_is_taken_as_it_is() {
        assert_eq!(rename(&[parse_quote!(#[pgspan(rename = "?column?")])]).unwrap().unwrap(), "?column?");
    }

    #[test]
    fn every_case_is_known_by_its_name() {
        for (name, case) in Case::ALL {
            assert_eq!(rename_all(&[parse_quote!(#[pgspan(rename_all = #name)])]).unwrap(), Some(case));
        }
    }

    #[test]
    fn an_unknown_case_is_answered_with_the_known_ones() {
        let message = error(rename_all(&[parse_quote!(#[pgspan(rename_all = "Train-Case")])]));
        assert!(message.contains("`kebab-case`") && message.contains("`snake_case`"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_known_one() {
        let message = error(rename(&[parse_quote!(#[pgspan(renam = "a")])]));
        assert!(message.contains("#[pgspan(rename = "), "{message}");
        let message = error(rename_all(&[parse_quote!(#[pgspan(rename = "a")])]));
        assert!(message.contains("#[pgspan(rename_all = "), "{message}");
    }

    #[test]
    fn a_key_twice_is_an_error_in_one_attribute_and_in_two() {
        let one = [parse_quote!(#[pgspan(rename = "a", rename = "b")])];
        let two = [parse_quote!(#[pgspan(rename = "a")]), parse_quote!(#[pgspan(rename = "b")])];
        assert!(error(rename(&one)).contains("twice"));
        assert!(error(rename(&two)).contains("twice"));
    }

    #[test]
    fn what_is_no_string_is_an_error() {
        for attribute in [
            parse_quote!(#[pgspan]),
            parse_quote!(#[pgspan(rename)]),
            parse_quote!(#[pgspan(rename = 1)]),
            parse_quote!(#[pgspan(rename = "")]),
            parse_quote!(#[pgspan = "a"]),
            parse_quote!(#[pgspan("a")]),
        ] {
            error(rename(&[attribute]));
        }
    }

    #[test]
    fn what_stands_on_a_field_says_where_its_value_comes_from() {
        let of = |attribute| of_field(&[attribute]).unwrap().source;
        assert_eq!(of_field(&[]).unwrap(), OfField::default());
        assert_eq!(of(parse_quote!(#[pgspan(default)])), Source::DefaultColumn);
        assert_eq!(of(parse_quote!(#[pgspan(skip)])), Source::Default);
        assert_eq!(of(parse_quote!(#[pgspan(flatten)])), Source::Row);
        assert_eq!(of(parse_quote!(#[pgspan(json, rename = "a")])), Source::Json);
    }

    #[test]
    fn what_can_not_be_together_on_a_field_is_an_error() {
        assert!(error(of_field(&[parse_quote!(#[pgspan(skip, json)])])).contains("exclude"));
        for attribute in
            [parse_quote!(#[pgspan(skip, rename = "a")]), parse_quote!(#[pgspan(flatten, rename = "a")])]
        {
            assert!(error(of_field(&[attribute])).contains("no column of its own"));
        }
        assert!(error(of_field(&[parse_quote!(#[pgspan(defaul)])])).contains("`#[pgspan(default)]`"));
        error(of_field(&[parse_quote!(#[pgspan(default = "x")])]));
    }

    #[test]
    fn what_stands_on_a_struct_is_known() {
        let of =
            of_struct(&[parse_quote!(#[pgspan(deny_unknown_columns, rename_all = "camelCase")])]).unwrap();
        assert_eq!(
            of,
            OfStruct { rename_all: Some(Case::Camel), denies_unknown: true, is_transparent: false }
        );
        assert!(of_struct(&[parse_quote!(#[pgspan(transparent)])]).unwrap().is_transparent);
        assert!(error(of_struct(&[parse_quote!(#[pgspan(deny_surplus)])])).contains("deny_unknown_columns"));
    }
}
