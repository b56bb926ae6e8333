//! Merge patches (RFC 7396): what an edit says of a field, what is absent stays as it is, what is null is removed
//! where it may be and refused where it may not, and an object is merged member by member.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an edit says of a field that may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Merge<T> {
    /// Nothing: it stays.
    #[default]
    Absent,
    /// It is removed.
    Null,
    /// It is this from now on.
    Value(T),
}

impl<T> Merge<T> {
    /// Whether it stays.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value that is given, if one is.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// The same, to be brought into form.
    pub const fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// What the field is from now on, where that changes: none where it is removed.
    pub fn change(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Merge<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(reader)?.map_or(Self::Null, Self::Value))
    }
}

/// What is absent has to be skipped by whoever holds it.
impl<T: Serialize> Serialize for Merge<T> {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(writer)
    }
}

/// Reads a field that is never empty: what is absent stays, and null is refused.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    reader: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::deserialize(reader)?;
    value.map(Some).ok_or_else(|| D::Error::custom("it cannot be empty: give a value, or leave it out"))
}

/// Reads a word that is written in capitals, in whatever case it comes.
pub(super) fn in_capitals<'de, D: Deserializer<'de>, T: DeserializeOwned>(reader: D) -> Result<T, D::Error> {
    let word = String::deserialize(reader)?.to_uppercase();
    serde_json::from_value(word.into()).map_err(D::Error::custom)
}
