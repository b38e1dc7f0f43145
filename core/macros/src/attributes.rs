//! `#[pgspan(…)]`: what may be written there, and the errors when something else is.

use syn::{Attribute, LitStr};

use crate::case::Case;

/// `rename = "…"`, on a field or variant.
pub(crate) fn rename(attributes: &[Attribute]) -> syn::Result<Option<String>> {
    let Some(name) = value(attributes, "rename")? else { return Ok(None) };
    if name.value().is_empty() {
        return Err(syn::Error::new(name.span(), "the name is empty: write one, or remove `rename`"));
    }
    Ok(Some(name.value()))
}

/// `rename_all = "…"`, on a struct or enum.
pub(crate) fn rename_all(attributes: &[Attribute]) -> syn::Result<Option<Case>> {
    let Some(name) = value(attributes, "rename_all")? else { return Ok(None) };
    match Case::ALL.iter().find(|(known, _)| name.value() == *known) {
        Some((_, case)) => Ok(Some(*case)),
        None => {
            let known = Case::ALL.map(|(known, _)| format!("`{known}`")).join(", ");
            Err(syn::Error::new(name.span(), format!("rename_all knows {known}")))
        }
    }
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

/// The value of the one key that is known here.
fn value(attributes: &[Attribute], key: &str) -> syn::Result<Option<LitStr>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("pgspan")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident(key) {
                return Err(
                    meta.error(format!("unknown key: `#[pgspan({key} = \"…\")]` is all there is here"))
                );
            }
            if found.is_some() {
                return Err(meta.error(format!("`{key}` is given twice: remove one of the two")));
            }
            found = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(found)
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
}
