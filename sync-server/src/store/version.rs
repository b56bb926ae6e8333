//! Optimistic concurrency: a version says which state of a thing somebody saw who changes it, and is checked in the
//! transaction of the change, so that nobody's change is lost unseen.

use std::fmt;
use std::str::FromStr;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::{hex, unhex};
use carepost_protocol::workflow::Workflow;
use serde::Serialize;
use serde_json::json;

use super::StoreError;

/// What can be edited of a thing, as a hash: the same values are the same version. Figures that the server measures
/// by itself are no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version([u8; 16]);

/// What somebody may edit.
pub trait Versioned {
    fn version(&self) -> Version;
}

/// Which versions of a thing a change was made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whichever there is.
    #[default]
    Any,
    OneOf(Vec<Version>),
}

impl Expected {
    /// Whether the change may be made to a thing as it is.
    ///
    /// # Errors
    /// [`StoreError::Changed`].
    pub fn check(&self, thing: &impl Versioned) -> Result<(), StoreError> {
        match (self, thing.version()) {
            (Self::OneOf(versions), now) if !versions.contains(&now) => Err(StoreError::Changed(now)),
            (Self::OneOf(_) | Self::Any, _) => Ok(()),
        }
    }
}

impl Version {
    /// Of a thing with these values.
    pub(super) fn of(values: &impl Serialize) -> Self {
        let hash = PayloadHash::of(json!(values).to_string().as_bytes());
        let mut version = [0; 16];
        version.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Version {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        unhex(text).map(Self).ok_or(())
    }
}

impl Versioned for Workflow {
    fn version(&self) -> Version {
        Version::of(self)
    }
}
