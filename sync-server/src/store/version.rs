//! Optimistic concurrency: a version says which state of a thing somebody saw who changes it, and is checked in the
//! transaction of the change, so that nobody's change is lost unseen.

use std::fmt;
use std::str::FromStr;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::{hex, unhex};
use carepost_protocol::workflow::Workflow;
use serde_json::{Value, json};

use super::{
    Badge, Deactivated, Device, Facility, KeptChange, Organization, Patient, Reconsidered, StoreError, User,
};

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
    /// One of these.
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
    fn of(values: &Value) -> Self {
        let hash = PayloadHash::of(values.to_string().as_bytes());
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

impl Versioned for Organization {
    fn version(&self) -> Version {
        Version::of(&json!([
            self.id,
            self.name,
            self.slug,
            self.organization_type,
            self.npi,
            self.address,
            self.contact
        ]))
    }
}

impl Versioned for Facility {
    fn version(&self) -> Version {
        Version::of(&json!([
            self.id,
            self.name,
            self.facility_type,
            self.licensed_beds,
            self.current_census,
            self.phone,
            self.phi_mode,
            self.require_encryption,
            self.record_days,
            self.time_zone,
            self.address,
            self.units
        ]))
    }
}

impl Versioned for User {
    fn version(&self) -> Version {
        Version::of(&json!([
            self.id,
            self.facility_id,
            self.username,
            self.email,
            self.display_name,
            self.role,
            self.employee_id,
            self.session_timeout_minutes,
            self.is_active,
            self.pin_exposed_at,
            self.secrets
        ]))
    }
}

impl Versioned for Device {
    fn version(&self) -> Version {
        Version::of(&json!([
            self.id,
            self.name,
            self.device_type,
            self.phi_mode,
            self.state,
            self.deactivation
        ]))
    }
}

impl Versioned for Patient {
    fn version(&self) -> Version {
        Version::of(&json!([self.id, self.values(), self.replaced_by]))
    }
}

impl Versioned for Badge {
    fn version(&self) -> Version {
        Version::of(&json!([self.id, self.user_id, self.is_active]))
    }
}

impl Versioned for Workflow {
    fn version(&self) -> Version {
        Version::of(&json!(self))
    }
}

impl Versioned for KeptChange {
    fn version(&self) -> Version {
        Version::of(&json!([
            self.device,
            self.incarnation,
            self.n,
            self.reason,
            self.flags,
            self.settlement,
            self.settled_at
        ]))
    }
}

impl Versioned for Deactivated {
    fn version(&self) -> Version {
        self.device.version()
    }
}

impl Versioned for Reconsidered {
    fn version(&self) -> Version {
        self.change.version()
    }
}
