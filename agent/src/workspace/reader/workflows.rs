//! Workflows: the forms that can be charted, and the versions that entries were charted in. An entry is read, corrected and struck
//! out by its own, and what was begun in one goes on in it, whatever became of the form since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use carepost_protocol::workflow::Workflow;

use super::{Reader, storage};
use crate::mirror::Mirror;
use crate::workspace::view::Refused;

/// Versions that were asked for, by key and number; none where this device does not have it.
type Found = BTreeMap<(String, u32), Option<Arc<Workflow>>>;

/// The workflows as they are while one page is made.
pub(crate) struct Workflows<'a> {
    mirror: &'a Mirror,
    /// Each in its latest version, offered or not.
    latest: Arc<[Arc<Workflow>]>,
    superseded: RefCell<Found>,
}

impl Workflows<'_> {
    /// What can be charted, in the order of its labels.
    pub(crate) fn offered(&self) -> Vec<Arc<Workflow>> {
        self.latest.iter().filter(|form| form.enabled).cloned().collect()
    }

    /// The latest version, offered or not: it says who may correct entries of every version.
    pub(crate) fn latest(&self, key: &str) -> Option<&Arc<Workflow>> {
        self.latest.iter().find(|form| form.key == key)
    }

    /// What an entry is read by, and whether that is the version that it was charted in. Where this device does not
    /// have it, the latest tells what was asked, but neither the unit of a value nor whether it is critical.
    pub(crate) fn of(
        &self,
        key: &str,
        version: Option<u32>,
    ) -> Result<(Option<Arc<Workflow>>, bool), Refused> {
        let own = version.map(|version| self.version(key, version)).transpose()?.flatten();
        let is_own = own.is_some();
        let in_its_place = || self.latest(key).map(|latest| Arc::new(without_measures(latest)));
        Ok((own.or_else(in_its_place), is_own))
    }

    /// What is asked in a version. No other takes its place: what was typed or charted may mean something else there.
    /// Nothing new is begun but in the latest, while that is offered.
    pub(crate) fn asked_in(&self, key: &str, version: Option<u32>) -> Result<Workflow, Refused> {
        let latest = self.latest(key).ok_or(Refused::NoSuchWorkflow)?;
        let asked = match version {
            Some(version) => self.version(key, version)?.ok_or(Refused::NoSuchVersion)?,
            None if latest.enabled => Arc::clone(latest),
            None => return Err(Refused::NoSuchWorkflow),
        };
        Ok(Arc::unwrap_or_clone(asked))
    }

    /// What a strike asks in: the latest by the number of another. It asks nothing of what was charted, so that it
    /// needs no more of that version than its number.
    pub(crate) fn struck_in(&self, key: &str, version: u32) -> Result<Workflow, Refused> {
        let latest = self.latest(key).ok_or(Refused::NoSuchWorkflow)?;
        Ok(Workflow { version, ..Workflow::clone(latest) })
    }

    pub(crate) fn version(&self, key: &str, version: u32) -> Result<Option<Arc<Workflow>>, Refused> {
        if let Some(latest) = self.latest(key).filter(|latest| latest.version == version) {
            return Ok(Some(Arc::clone(latest)));
        }
        let name = (key.to_owned(), version);
        if let Some(known) = self.superseded.borrow().get(&name) {
            return Ok(known.clone());
        }
        let found = self.mirror.superseded(key, version).map_err(storage)?.map(Arc::new);
        self.superseded.borrow_mut().insert(name, found.clone());
        Ok(found)
    }
}

impl Reader {
    pub(crate) fn workflows(&self) -> Result<Workflows<'_>, Refused> {
        let latest = self.mirror.workflows().map_err(storage)?;
        Ok(Workflows { mirror: &self.mirror, latest, superseded: RefCell::default() })
    }
}

/// The form as it is read where a value was charted in another version: in what unit, and what is critical of it, that
/// one would say.
fn without_measures(form: &Workflow) -> Workflow {
    let mut form = form.clone();
    for field in &mut form.fields {
        (field.unit, field.critical_min, field.critical_max) = (None, None, None);
    }
    form
}
