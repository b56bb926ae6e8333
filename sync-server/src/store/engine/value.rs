//! What goes into a statement and comes out of a row, in no engine's own types.

use super::error::EngineError;

/// What a column holds, or a placeholder is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum ValueRef<'v> {
    /// Nothing.
    Null,
    /// A whole number; a truth is 0 or 1.
    Integer(i64),
    /// Text.
    Text(&'v str),
    /// Bytes.
    Blob(&'v [u8]),
}

/// A [`ValueRef`] that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What can be given to a placeholder.
pub(in crate::store) trait ToValue {
    /// As a column takes it.
    fn to_value(&self) -> ValueRef<'_>;
}

/// What can be read from a column.
pub(in crate::store) trait FromValue<'v>: Sized {
    /// What the column means; none where it is of another type, or out of range.
    fn from_value(value: ValueRef<'v>) -> Option<Self>;
}

/// The values of a statement's placeholders `?1`, `?2` and so on.
pub(in crate::store) trait Params {
    /// Gives each, in order.
    fn each(&self, bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError>;
}

/// Values of several types for placeholders.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::store::engine::ToValue),*] as &[&dyn $crate::store::engine::ToValue]
    };
}
pub(in crate::store) use params;

impl Params for &[&dyn ToValue] {
    fn each(&self, mut bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError> {
        self.iter().try_for_each(|value| bind(value.to_value()))
    }
}

impl Params for &[Value] {
    fn each(&self, mut bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError> {
        self.iter().try_for_each(|value| bind(value.to_value()))
    }
}

impl<A: ToValue, B: ToValue, C: ToValue> Params for (A, B, C) {
    fn each(&self, mut bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError> {
        [self.0.to_value(), self.1.to_value(), self.2.to_value()].into_iter().try_for_each(&mut bind)
    }
}

// For each length and not for any: `[]` would be of no type then.
impl Params for [&dyn ToValue; 0] {
    fn each(&self, _bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>) -> Result<(), EngineError> {
        Ok(())
    }
}

macro_rules! params_of_length {
    ($($length:literal)*) => {$(
        impl<T: ToValue> Params for [T; $length] {
            fn each(
                &self,
                mut bind: impl FnMut(ValueRef<'_>) -> Result<(), EngineError>,
            ) -> Result<(), EngineError> {
                self.iter().try_for_each(|value| bind(value.to_value()))
            }
        }
    )*};
}
params_of_length!(1 2 3 4 5);

impl ToValue for Value {
    fn to_value(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

impl ToValue for bool {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Integer(i64::from(*self))
    }
}

impl ToValue for str {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToValue for String {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> ValueRef<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> ValueRef<'_> {
        self.as_ref().map_or(ValueRef::Null, ToValue::to_value)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl ToValue for $integer {
            fn to_value(&self) -> ValueRef<'_> {
                ValueRef::Integer(i64::from(*self))
            }
        }

        impl FromValue<'_> for $integer {
            fn from_value(value: ValueRef<'_>) -> Option<Self> {
                let ValueRef::Integer(number) = value else { return None };
                number.try_into().ok()
            }
        }
    )*};
}
integers!(i64 u32 u16 u8);

impl FromValue<'_> for bool {
    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl<'v> FromValue<'v> for &'v str {
    fn from_value(value: ValueRef<'v>) -> Option<Self> {
        let ValueRef::Text(text) = value else { return None };
        Some(text)
    }
}

impl FromValue<'_> for String {
    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'v> FromValue<'v> for &'v [u8] {
    fn from_value(value: ValueRef<'v>) -> Option<Self> {
        let ValueRef::Blob(bytes) = value else { return None };
        Some(bytes)
    }
}

impl FromValue<'_> for Vec<u8> {
    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

impl<const N: usize> FromValue<'_> for [u8; N] {
    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        <&[u8]>::from_value(value)?.try_into().ok()
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    fn from_value(value: ValueRef<'v>) -> Option<Self> {
        if value == ValueRef::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue<'_> for Value {
    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Text(text) => Self::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}
