//! Reading a request while noticing members that it does not have, without a second look at the text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads a request; says in `passed_over` when it had a member that nobody asked for. Elements of batches
/// are not looked into.
pub fn deserialize<'de, R: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    passed_over: &mut bool,
) -> Result<R, D::Error> {
    R::deserialize(Noting { from, passed_over })
}

/// Hands a struct on with its members noted.
struct Noting<'a, D> {
    from: D,
    passed_over: &'a mut bool,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Noting<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let passed_over = self.passed_over;
        self.from.deserialize_struct(name, known, OfStruct { visitor, known, passed_over })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct OfStruct<'a, V> {
    visitor: V,
    known: &'static [&'static str],
    passed_over: &'a mut bool,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OfStruct<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let OfStruct { visitor, known, passed_over } = self;
        visitor.visit_map(Members { map, known, passed_over })
    }
}

struct Members<'a, A> {
    map: A,
    known: &'static [&'static str],
    passed_over: &'a mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Members { map, known, passed_over } = self;
        map.next_key_seed(Key { inner: seed, known, passed_over })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// The name of a member on its way: as what reads it, as where it comes from, and as who it is given to.
struct Key<'a, T> {
    inner: T,
    known: &'static [&'static str],
    passed_over: &'a mut bool,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<K::Value, D::Error> {
        let Key { inner, known, passed_over } = self;
        inner.deserialize(Key { inner: from, known, passed_over })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Key<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Key { inner, known, passed_over } = self;
        inner.deserialize_identifier(Key { inner: visitor, known, passed_over })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Key<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<V::Value, E> {
        *self.passed_over |= !self.known.contains(&name);
        self.inner.visit_str(name)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, name: &'de str) -> Result<V::Value, E> {
        *self.passed_over |= !self.known.contains(&name);
        self.inner.visit_borrowed_str(name)
    }
}
