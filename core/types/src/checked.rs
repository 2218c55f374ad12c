//! Values of Rust on their way to JSON: what JSON has no number for is refused, where a tree would silently have
//! null for it.

use serde::ser::{self, Serialize, Serializer};

use crate::fault::{JsonError, NOT_FINITE, RAW_VALUE, TOO_LARGE_INTEGER, too_large_integer};

/// Refuses floats that are not finite and integers that do not fit 64 bits, by their path.
pub(crate) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), JsonError> {
    value.serialize(Check::default())
}

/// Looks at one value, and at those in it.
#[derive(Default)]
struct Check {
    /// How many elements of a list were fine.
    index: usize,
    /// The member whose value comes next.
    key: String,
    /// It is JSON text that goes out as it is.
    is_text: bool,
}

impl Check {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        check(value).map_err(|error| error.below_element(self.index))?;
        self.index += 1;
        Ok(())
    }
}

macro_rules! fine {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, _: $type) -> Result<(), JsonError> {
            Ok(())
        }
    )*};
}

macro_rules! finite {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), JsonError> {
            if value.is_finite() { Ok(()) } else { Err(JsonError::new(NOT_FINITE)) }
        }
    )*};
}

impl Serializer for Check {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Check;
    type SerializeTuple = Check;
    type SerializeTupleStruct = Check;
    type SerializeTupleVariant = Check;
    type SerializeMap = Check;
    type SerializeStruct = Check;
    type SerializeStructVariant = Check;

    fine!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str);
    finite!(serialize_f32: f32, serialize_f64: f64);

    fn serialize_i128(self, value: i128) -> Result<(), JsonError> {
        let fits = i64::try_from(value).is_ok() || u64::try_from(value).is_ok();
        if fits { Ok(()) } else { Err(JsonError::new(TOO_LARGE_INTEGER)) }
    }

    fn serialize_u128(self, value: u128) -> Result<(), JsonError> {
        u64::try_from(value).map(drop).map_err(|_| JsonError::new(TOO_LARGE_INTEGER))
    }

    fn serialize_none(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        check(value)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), JsonError> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        check(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        check(value).map_err(|error| error.below_member(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Check, JsonError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Check, JsonError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Check, JsonError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Check, JsonError> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Check, JsonError> {
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Check, JsonError> {
        Ok(Check { is_text: name == RAW_VALUE, ..self })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Check, JsonError> {
        Ok(self)
    }
}

macro_rules! elements {
    ($($name:ident $method:ident),*) => {$(
        impl ser::$name for Check {
            type Ok = ();
            type Error = JsonError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
                self.element(value)
            }

            fn end(self) -> Result<(), JsonError> {
                Ok(())
            }
        }
    )*};
}

elements!(
    SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! members {
    ($($name:ident),*) => {$(
        impl ser::$name for Check {
            type Ok = ();
            type Error = JsonError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), JsonError> {
                if self.is_text
                    && let Ok(serde_json::Value::String(text)) = serde_json::to_value(value)
                {
                    return match too_large_integer(&text, 0) {
                        Some(at) => Err(JsonError::at(&text, at.start, TOO_LARGE_INTEGER)),
                        None => Ok(()),
                    };
                }
                check(value).map_err(|error| error.below_member(key))
            }

            fn end(self) -> Result<(), JsonError> {
                Ok(())
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Check {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        // What is no text becomes one, or is refused, when it is written; here it is for the path.
        self.key = match serde_json::to_value(key) {
            Ok(serde_json::Value::String(key)) => key,
            Ok(key) => key.to_string(),
            Err(_) => "…".to_owned(),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        check(value).map_err(|error| error.below_member(&self.key))
    }

    fn end(self) -> Result<(), JsonError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;
    use crate::Json;

    #[test]
    fn text_that_goes_out_as_it_is_and_keys_are_looked_at_as_what_they_become() {
        let raw = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        let fine = BTreeMap::from([("a", raw("[1.50]"))]);
        assert_eq!(Json::from_serialize(&fine).unwrap().as_str(), r#"{"a":[1.5]}"#);
        let error = Json::from_serialize(&BTreeMap::from([("a", raw("[0,18446744073709551616]"))]));
        let error = error.unwrap_err();
        assert_eq!((error.path(), error.problem()), ("a[1]", TOO_LARGE_INTEGER));
        let keys = BTreeMap::from([(u128::MAX, 1)]);
        assert_eq!(
            Json::from_serialize(&keys).unwrap().as_str(),
            r#"{"340282366920938463463374607431768211455":1}"#
        );
    }

    #[derive(Serialize)]
    struct Order {
        items: Vec<Option<f64>>,
        by_day: BTreeMap<u8, (u32, i128)>,
    }

    #[test]
    fn what_json_has_no_number_for_is_refused_by_its_path() {
        let order = |price, count| Order {
            items: vec![None, Some(price)],
            by_day: BTreeMap::from([(7, (1, count))]),
        };
        let fine = Json::from_serialize(&order(0.5, u64::MAX.into())).unwrap();
        assert_eq!(
            fine.as_str(),
            r#"{"by_day":{"7":[1,18446744073709551615]},"items":[null,0.5]}"#
        );
        for (order, path, problem) in [
            (order(f64::NAN, 0), "items[1]", NOT_FINITE),
            (order(f64::NEG_INFINITY, 0), "items[1]", NOT_FINITE),
            (order(0.0, i128::from(u64::MAX) + 1), "by_day.7[1]", TOO_LARGE_INTEGER),
            (order(0.0, i128::from(i64::MIN) - 1), "by_day.7[1]", TOO_LARGE_INTEGER),
        ] {
            let error = Json::from_serialize(&order).unwrap_err();
            assert_eq!((error.path(), error.problem()), (path, problem));
        }
        assert_eq!(Json::from_serialize(&f32::NAN).unwrap_err().to_string(), NOT_FINITE);
        assert!(Json::from_serialize(&u128::MAX).is_err());
    }
}
