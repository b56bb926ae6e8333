//! Values: what goes into a statement and comes out of a row, in no engine's own types.

use std::borrow::Cow;

use super::Read;

/// What a column holds, or a placeholder is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Value<'v> {
    /// Nothing.
    Null,
    /// A whole number; a truth is 0 or 1.
    Integer(i64),
    Text(Cow<'v, str>),
    /// Bytes.
    Blob(Cow<'v, [u8]>),
}

/// What can be given to a placeholder.
pub(in crate::store) trait ToValue {
    /// As a column takes it.
    ///
    /// # Errors
    /// When no column can hold it.
    fn to_value(&self) -> Read<Value<'_>>;
}

/// What can be read from a column.
pub(in crate::store) trait FromValue<'v>: Sized {
    /// What the column means; none where it is of another type, or out of range.
    fn from_value(value: Value<'v>) -> Option<Self>;
}

/// The values of a statement's placeholders `?1`, `?2` and so on.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &dyn $crate::store::engine::ToValue),*] as $crate::store::engine::Params<'_>
    };
}
pub(in crate::store) use params;

/// What [`params`] makes.
pub(in crate::store) type Params<'p> = &'p [&'p dyn ToValue];

impl ToValue for Value<'_> {
    fn to_value(&self) -> Read<Value<'_>> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Blob(bytes) => Value::Blob(Cow::Borrowed(bytes)),
        })
    }
}

impl ToValue for bool {
    fn to_value(&self) -> Read<Value<'_>> {
        Ok(Value::Integer(i64::from(*self)))
    }
}

impl ToValue for str {
    fn to_value(&self) -> Read<Value<'_>> {
        Ok(Value::Text(Cow::Borrowed(self)))
    }
}

impl ToValue for String {
    fn to_value(&self) -> Read<Value<'_>> {
        self.as_str().to_value()
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Read<Value<'_>> {
        Ok(Value::Blob(Cow::Borrowed(self)))
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Read<Value<'_>> {
        self.as_slice().to_value()
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Read<Value<'_>> {
        self.as_slice().to_value()
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Read<Value<'_>> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Read<Value<'_>> {
        self.as_ref().map_or(Ok(Value::Null), ToValue::to_value)
    }
}

/// Numbers beyond an integer's: what is counted never comes near 2^63, and who asks from the end gives the last.
macro_rules! counts {
    ($($count:ty)*) => {$(
        impl ToValue for $count {
            fn to_value(&self) -> Read<Value<'_>> {
                Ok(Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX)))
            }
        }
    )*};
}
counts!(u64 usize);

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl ToValue for $integer {
            fn to_value(&self) -> Read<Value<'_>> {
                Ok(Value::Integer(i64::from(*self)))
            }
        }
    )*};
}
integers!(i64 u32 u16 u8);

macro_rules! read_integers {
    ($($integer:ty)*) => {$(
        impl FromValue<'_> for $integer {
            fn from_value(value: Value<'_>) -> Option<Self> {
                let Value::Integer(number) = value else { return None };
                number.try_into().ok()
            }
        }
    )*};
}
read_integers!(i64 u64 u32 u16 u8);

impl FromValue<'_> for bool {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

// A row lends what it holds.
impl<'v> FromValue<'v> for &'v str {
    fn from_value(value: Value<'v>) -> Option<Self> {
        let Value::Text(Cow::Borrowed(text)) = value else { return None };
        Some(text)
    }
}

impl FromValue<'_> for String {
    fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        Some(text.into_owned())
    }
}

impl<'v> FromValue<'v> for &'v [u8] {
    fn from_value(value: Value<'v>) -> Option<Self> {
        let Value::Blob(Cow::Borrowed(bytes)) = value else { return None };
        Some(bytes)
    }
}

impl FromValue<'_> for Vec<u8> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Blob(bytes) = value else { return None };
        Some(bytes.into_owned())
    }
}

impl<const N: usize> FromValue<'_> for [u8; N] {
    fn from_value(value: Value<'_>) -> Option<Self> {
        let Value::Blob(bytes) = value else { return None };
        (*bytes).try_into().ok()
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    fn from_value(value: Value<'v>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue<'_> for Value<'static> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Value::Null,
            Value::Integer(number) => Value::Integer(number),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Blob(bytes) => Value::Blob(Cow::Owned(bytes.into_owned())),
        })
    }
}
