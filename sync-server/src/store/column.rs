//! Column types: how what the store holds is written in columns, ids as bytes, moments as milliseconds, words as on
//! the wire, and what has parts as JSON.

use std::borrow::Cow;

use carepost_protocol::audit::{AuditAction, AuditEventType, AuditSource};
use carepost_protocol::change::{ChangeKind, Lane, Link, PayloadHash, Verdict};
use carepost_protocol::device::{Deactivation, DeviceState, DeviceType};
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{
    AssignmentId, AuditId, BadgeId, BootId, DeviceId, DeviceUuid, EnrollmentId, FacilityId, IncarnationId,
    OrganizationId, PatientId, RecordId, ReviewId, SessionId, UserId, WorkflowId,
};
use carepost_protocol::record::{Collection, ReviewDocument, ReviewKind, UserDocument};
use carepost_protocol::role::Role;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::unit::Units;
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState, Settlement, SteppedOver};
use carepost_protocol::wire::push::Rejection;
use carepost_protocol::workflow::Workflow;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::engine::{EngineError, FromValue, Read, ToValue, Value};
use super::{OrganizationType, StoreError};

/// The text of what is stored as JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Unreadable("JSON"))
}

/// What is flagged, as it is stored: between commas.
pub(super) fn flags(flags: Option<&str>) -> Vec<String> {
    flags.iter().flat_map(|flags| flags.split(',')).map(str::to_owned).collect()
}

impl ToValue for Timestamp {
    fn to_value(&self) -> Read<Value<'_>> {
        Ok(Value::Integer(self.as_millis()))
    }
}

impl FromValue<'_> for Timestamp {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).map(Self::from_millis)
    }
}

/// Bytes, as many as the type has.
macro_rules! bytes {
    ($($type:ty)*) => {$(
        impl ToValue for $type {
            fn to_value(&self) -> Read<Value<'_>> {
                Ok(Value::Blob(Cow::Borrowed(self.as_bytes())))
            }
        }

        impl FromValue<'_> for $type {
            fn from_value(value: Value<'_>) -> Option<Self> {
                FromValue::from_value(value).map(<$type>::from_bytes)
            }
        }
    )*};
}
bytes!(AssignmentId AuditId BadgeId BootId DeviceId DeviceUuid EnrollmentId FacilityId IncarnationId);
bytes!(OrganizationId PatientId RecordId ReviewId SessionId UserId WorkflowId Link PayloadHash);

/// Words of a closed set.
macro_rules! words {
    ($($type:ty)*) => {$(
        impl ToValue for $type {
            fn to_value(&self) -> Read<Value<'_>> {
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(word)) => Ok(Value::Text(Cow::Owned(word))),
                    _ => Err(EngineError::unwritable::<Self>()),
                }
            }
        }

        impl FromValue<'_> for $type {
            fn from_value(value: Value<'_>) -> Option<Self> {
                let Value::Text(word) = value else { return None };
                let word: serde::de::value::CowStrDeserializer<'_, serde::de::value::Error> =
                    word.into_deserializer();
                Self::deserialize(word).ok()
            }
        }
    )*};
}
words!(AuditAction AuditEventType AuditSource ChangeKind ClockQuality Collection Deactivation DeviceState);
words!(DeviceType FacilityType Lane OrganizationType PhiMode ReaderState ReviewKind Role Settlement);
words!(Units Verdict);

/// What is stored as JSON.
macro_rules! parts {
    ($($type:ty),* $(,)?) => {$(
        impl ToValue for $type {
            fn to_value(&self) -> Read<Value<'_>> {
                let text = serde_json::to_string(self).map_err(|_| EngineError::unwritable::<Self>())?;
                Ok(Value::Text(Cow::Owned(text)))
            }
        }

        impl FromValue<'_> for $type {
            fn from_value(value: Value<'_>) -> Option<Self> {
                let Value::Text(text) = value else { return None };
                serde_json::from_str(&text).ok()
            }
        }
    )*};
}
parts!(
    Encryption,
    Rejection,
    ReviewDocument,
    Vec<SteppedOver>,
    Vec<String>,
    UserDocument,
    Workflow,
    serde_json::Value
);

/// An object, which is left out where nothing is in it.
impl ToValue for Map<String, serde_json::Value> {
    fn to_value(&self) -> Read<Value<'_>> {
        if self.is_empty() {
            return Ok(Value::Null);
        }
        let text = serde_json::to_string(self).map_err(|_| EngineError::unwritable::<Self>())?;
        Ok(Value::Text(Cow::Owned(text)))
    }
}

impl FromValue<'_> for Map<String, serde_json::Value> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(Self::new()),
            Value::Text(text) => serde_json::from_str(&text).ok(),
            Value::Integer(_) | Value::Blob(_) => None,
        }
    }
}
