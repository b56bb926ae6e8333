//! Forms: what can be charted, and the versions that entries were charted in. An entry is read, corrected and struck
//! out by its own, and what was begun in one goes on in it, whatever became of the form since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use carepost_protocol::id::UserId;
use carepost_protocol::workflow::Workflow;
use serde_json::{Map, Value};

use super::unfinished::Typed;
use super::view::{Form, Refused, version_of};
use super::ward::{Ward, storage};
use crate::mirror::Mirror;

/// Versions that were asked for, by key and number; none where this device does not have it.
type Found = BTreeMap<(String, u32), Option<Rc<Workflow>>>;

/// The forms as they are while one page is made.
pub(super) struct Forms<'a> {
    mirror: &'a Mirror,
    /// Each in its latest version, offered or not.
    latest: Vec<Rc<Workflow>>,
    superseded: RefCell<Found>,
}

impl Forms<'_> {
    /// What can be charted, in the order of its labels.
    pub(super) fn offered(self) -> Vec<Workflow> {
        let offered = self.latest.into_iter().filter(|form| form.enabled);
        offered.map(Rc::unwrap_or_clone).collect()
    }

    /// The latest version, offered or not: it says who may correct entries of every version.
    pub(super) fn latest(&self, key: &str) -> Option<&Rc<Workflow>> {
        self.latest.iter().find(|form| form.key == key)
    }

    /// What an entry is read by: the version that it was charted in. The latest, where this device does not have that.
    pub(super) fn of(&self, key: &str, version: Option<u32>) -> Result<Option<Rc<Workflow>>, Refused> {
        let known = version.map(|version| self.version(key, version)).transpose()?.flatten();
        Ok(known.or_else(|| self.latest(key).cloned()))
    }

    /// What a correction of an entry asks, and what of its values it leaves as they are: none, but where this device
    /// does not have the version that it was charted in. Then the latest asks in its place for what both know.
    pub(super) fn corrects(
        &self,
        key: &str,
        version: u32,
        values: &Map<String, Value>,
    ) -> Result<(Workflow, Map<String, Value>), Refused> {
        if let Some(known) = self.version(key, version)? {
            return Ok((Rc::unwrap_or_clone(known), Map::new()));
        }
        let latest = self.latest(key).ok_or(Refused::NoSuchWorkflow)?;
        let mut form = Workflow { version, ..Workflow::clone(latest) };
        form.fields.retain(|field| values.contains_key(&field.key));
        let is_asked = |key: &str| form.fields.iter().any(|field| field.key == key);
        let left = values.iter().filter(|(key, _)| !is_asked(key));
        let left = left.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok((form, left))
    }

    fn version(&self, key: &str, version: u32) -> Result<Option<Rc<Workflow>>, Refused> {
        if let Some(latest) = self.latest(key).filter(|latest| latest.version == version) {
            return Ok(Some(Rc::clone(latest)));
        }
        let name = (key.to_owned(), version);
        if let Some(known) = self.superseded.borrow().get(&name) {
            return Ok(known.clone());
        }
        let found = self.mirror.superseded(key, version).map_err(storage)?.map(Rc::new);
        self.superseded.borrow_mut().insert(name, found.clone());
        Ok(found)
    }
}

impl Ward {
    pub(super) fn forms(&self) -> Result<Forms<'_>, Refused> {
        let latest = self.mirror.workflows().map_err(storage)?.into_iter().map(Rc::new).collect();
        Ok(Forms { mirror: &self.mirror, latest, superseded: RefCell::default() })
    }

    /// The version in which an entry is charted: the one in which its page or its draft was begun, or, of a refused
    /// one, in which it was `charted`. A new one is begun in the latest, while that is offered.
    pub(super) fn version_for(
        &self,
        user: UserId,
        form: &Form,
        key: &str,
        sent: &Typed,
        charted: Option<u32>,
    ) -> Result<Workflow, Refused> {
        let version = match version_of(sent) {
            None => self.draft(user, form)?.as_deref().and_then(version_of).or(charted),
            said => said,
        };
        let forms = self.forms()?;
        let begun = version.map(|version| forms.version(key, version)).transpose()?.flatten();
        let offered = || forms.latest(key).filter(|latest| latest.enabled || charted.is_some()).cloned();
        let form = begun.or_else(offered).ok_or(Refused::NoSuchWorkflow)?;
        Ok(Rc::unwrap_or_clone(form))
    }
}
