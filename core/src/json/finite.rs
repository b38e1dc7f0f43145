//! Finds the number that JSON does not have. serde_json writes `null` for NaN and the infinities, which is another value.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

/// Says which field is NaN or infinite.
#[derive(Debug)]
pub(crate) struct NotFinite {
    /// The fields that lead to it, the innermost first.
    fields: Vec<&'static str>,
    /// Where it is another fault, which the writer will tell itself.
    other: bool,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> = self.fields.iter().rev().copied().collect();
        match fields.is_empty() {
            true => f.write_str("a number is NaN or infinite, which JSON does not have"),
            false => write!(f, "field {:?} is NaN or infinite, which JSON does not have", fields.join(".")),
        }
    }
}

impl std::error::Error for NotFinite {}

impl ser::Error for NotFinite {
    fn custom<T: fmt::Display>(_: T) -> Self {
        NotFinite { fields: Vec::new(), other: true }
    }
}

/// Looks at every number of a value.
pub(super) fn check<T: Serialize>(value: &T) -> Result<(), NotFinite> {
    match value.serialize(Finite) {
        Err(error) if !error.other => Err(error),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Finite;

type Found = Result<(), NotFinite>;

fn finite(is_finite: bool) -> Found {
    if is_finite { Ok(()) } else { Err(NotFinite { fields: Vec::new(), other: false }) }
}

fn named<T: Serialize + ?Sized>(name: &'static str, value: &T) -> Found {
    value.serialize(Finite).map_err(|mut error| {
        error.fields.push(name);
        error
    })
}

macro_rules! fine {
    ($($method:ident($($ty:ty),*);)*) => {$(
        fn $method(self, $(_: $ty),*) -> Found {
            Ok(())
        }
    )*};
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Finite;
    type SerializeTuple = Finite;
    type SerializeTupleStruct = Finite;
    type SerializeTupleVariant = Finite;
    type SerializeMap = Finite;
    type SerializeStruct = Finite;
    type SerializeStructVariant = Finite;

    fine! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_f32(self, value: f32) -> Found {
        finite(value.is_finite())
    }
    fn serialize_f64(self, value: f64) -> Found {
        finite(value.is_finite())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(self)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Found {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Found {
        named(name, value)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_tuple(self, _: usize) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Finite, NotFinite> {
        Ok(self)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Finite, NotFinite> {
        Ok(self)
    }
}

macro_rules! elements {
    ($($of:ident: $method:ident;)*) => {$(
        impl ser::$of for Finite {
            type Ok = ();
            type Error = NotFinite;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Found {
                value.serialize(*self)
            }
            fn end(self) -> Found {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! fields {
    ($($of:ident;)*) => {$(
        impl ser::$of for Finite {
            type Ok = ();
            type Error = NotFinite;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Found {
                named(name, value)
            }
            fn end(self) -> Found {
                Ok(())
            }
        }
    )*};
}

fields! { SerializeStruct; SerializeStructVariant; }

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = NotFinite;

    /// A key is text: what can't be one is told when it is written.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Found {
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Found {
        value.serialize(*self)
    }
    fn end(self) -> Found {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::check;

    #[derive(Serialize)]
    struct Outer<T> {
        name: &'static str,
        inner: T,
    }

    #[derive(Serialize)]
    enum Shape {
        Circle { radius: f64 },
        Line(f64),
        None,
    }

    fn fault<T: Serialize>(inner: T) -> String {
        let outer = Outer { name: "x", inner };
        check(&outer).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_json_does_not_have_is_found_at_any_depth_and_named() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let map = BTreeMap::from([("k", bad)]);
            for told in [
                fault(bad),
                fault(Some(bad)),
                fault(vec![0.0, bad]),
                fault((1, bad)),
                fault(&map),
                fault(Shape::Line(bad)),
                fault(crate::Json(bad)),
            ] {
                assert!(told.contains("\"inner") && told.contains("NaN"), "{told}");
            }
            assert!(fault(Outer { name: "y", inner: bad }).contains("\"inner.inner\""));
            assert!(fault(Shape::Circle { radius: bad }).contains("radius"));
            assert!(check(&bad).is_err() && check(&f32::NAN).is_err());
        }
    }

    #[test]
    fn other_values_pass() {
        for told in [
            fault(f64::MAX),
            fault(f32::MIN),
            fault(None::<f64>),
            fault(Shape::None),
            fault(Shape::Circle { radius: 1.0 }),
            fault(vec![1_u8]),
            fault("NaN"),
            fault(serde_json::json!({"a": [1, null, 1.5]})),
        ] {
            assert_eq!(told, "");
        }
    }
}
