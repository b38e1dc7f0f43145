//! A Worker's variables and secrets, as text.

use std::ops::RangeInclusive;

use pgspan::{Error, Kind};
use wasm_bindgen::JsValue;
use worker::Env;
use worker::js_sys::{Number, Reflect};

/// Where settings come from, by name.
pub(crate) type Variables<'v> = &'v dyn Fn(&str) -> Result<Option<String>, Error>;

/// Reads a variable or a secret by name. Numbers and booleans, which `[vars]` in `wrangler.toml` may hold, are read as text; what
/// is empty counts as not set.
///
/// # Errors
///
/// [`Kind::Config`], with the name, when it is something else: a list, a table, or another binding.
pub fn variable(env: &Env, name: &str) -> Result<Option<String>, Error> {
    let value = Reflect::get(env, &name.into()).unwrap_or(JsValue::UNDEFINED);
    if value.is_undefined() {
        return Ok(None);
    }
    let text = value.as_string().or_else(|| value.as_bool().map(|bool| bool.to_string())).or_else(|| {
        let number = Number::from(value.as_f64()?);
        number.to_string_with_radix(10).ok().map(String::from)
    });
    match text {
        Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        None => Err(Error::new(Kind::Config, format!("{name}: must be text, a number, or true or false"))),
    }
}

/// The same as a function of the name, where a variable of another kind counts as not set.
pub fn lookup(env: &Env) -> impl Fn(&str) -> Option<String> {
    move |name| variable(env, name).ok().flatten()
}

/// A whole number within a range.
pub(crate) fn number(
    lookup: impl Fn(&str) -> Option<String>,
    name: &str,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, Error> {
    match lookup(name).map(|number| number.parse()) {
        None => Ok(default),
        Some(Ok(number)) if range.contains(&number) => Ok(number),
        Some(_) => {
            let (least, most) = range.into_inner();
            Err(Error::new(Kind::Config, format!("{name}: must be a number from {least} to {most}")))
        }
    }
}
