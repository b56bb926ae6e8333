//! Duplicate detection: who may be the person that is asked about, or has the same number.

use std::collections::BTreeMap;

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::{may_be_one, numbers, same_numbers};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use serde_json::{Map, Value};

use super::Reader;
use super::residents::present_in;
use crate::workspace::view::{Known, Refused};

impl Reader {
    /// The others who may be a resident since an edit: whom these values make alike, or of whom they give a number. Where
    /// names are not sent, none are alike.
    pub(crate) fn newly_alike(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
        values: &Map<String, Value>,
    ) -> Result<Vec<Known>, Refused> {
        if self.phi_mode() != PhiMode::Full {
            return self.with_a_number_of(permit, resident, values);
        }
        let (given, mut edited) = (numbers_of(resident, values), resident.clone());
        edited.set_all(values);
        let is_new = |given: &PatientDocument, other: &PatientDocument| {
            same_numbers(given, other).next().is_some()
                || may_be_one(&edited, other) && !may_be_one(resident, other)
        };
        self.others_as(permit, &given, is_new)
    }

    /// The others who have a number that these values give a resident: about another's that stands a review asks.
    pub(crate) fn with_a_number_of(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
        values: &Map<String, Value>,
    ) -> Result<Vec<Known>, Refused> {
        if !numbers().any(|number| values.contains_key(number.key)) {
            return Ok(Vec::new());
        }
        self.with_the_number_of(permit, &numbers_of(resident, values))
    }

    /// The others who have a number of a resident's, which is one person's, or took the place of somebody who had it.
    pub(crate) fn with_the_number_of(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
    ) -> Result<Vec<Known>, Refused> {
        self.others_as(permit, resident, |one, other| same_numbers(one, other).next().is_some())
    }

    /// As [`Self::known_as`], of others than the resident, and whoever took the resident's place.
    fn others_as(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
        holds: impl Fn(&PatientDocument, &PatientDocument) -> bool,
    ) -> Result<Vec<Known>, Refused> {
        let mut others = self.known_as(permit, resident, holds)?;
        let is_another = |id| id != resident.id && Some(id) != resident.replaced_by;
        others.retain(|known| is_another(known.resident.id));
        Ok(others)
    }

    /// The people of whom that holds beside whoever is asked about, or who took the place of somebody of whom it does:
    /// those in care first.
    pub(crate) fn known_as(
        &self,
        permit: &Permit<ReadPatients>,
        asked: &PatientDocument,
        holds: impl Fn(&PatientDocument, &PatientDocument) -> bool,
    ) -> Result<Vec<Known>, Refused> {
        let all = self.all_residents(permit)?;
        let present = present_in(&all);
        let mut former: BTreeMap<PatientId, Vec<&'static str>> = BTreeMap::new();
        for other in all.iter().map(|resident| &resident.document).filter(|other| holds(asked, other)) {
            let now = present(other.id);
            let numbers = same_numbers(asked, other).map(|number| number.label).filter(|_| now != other.id);
            former.entry(now).or_default().extend(numbers);
        }
        let known = all.into_iter().filter_map(|resident| {
            let mut former = former.remove(&resident.document.id)?;
            let known = Known::beside(asked, resident.document);
            former.sort_unstable();
            former.dedup();
            former.retain(|label| !known.own.contains(label));
            Some(Known { former, ..known })
        });
        let mut known: Vec<Known> = known.collect();
        known.sort_by_key(|known| (!known.resident.is_active, known.resident.id));
        Ok(known)
    }
}

/// A resident with the numbers alone that these values give.
fn numbers_of(resident: &PatientDocument, values: &Map<String, Value>) -> PatientDocument {
    let mut given = PatientDocument { mrn: String::new(), medicare: None, ..resident.clone() };
    given.set_all(values);
    given
}
