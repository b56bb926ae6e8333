//! Duplicate detection: who may be the person that is asked about, or has the same number.

use std::collections::BTreeMap;

use carepost_protocol::id::PatientId;
use carepost_protocol::patient::{numbers, same_numbers};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use serde_json::{Map, Value};

use super::Reader;
use super::residents::present_in;
use crate::workspace::view::{Known, Refused};

impl Reader {
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
        let mut given = PatientDocument { mrn: String::new(), medicare: None, ..resident.clone() };
        given.set_all(values);
        self.with_the_number_of(permit, &given)
    }

    /// The others who have a number of a resident's, which is one person's, or took the place of somebody who had it.
    pub(crate) fn with_the_number_of(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
    ) -> Result<Vec<Known>, Refused> {
        let has_one =
            |one: &PatientDocument, other: &PatientDocument| same_numbers(one, other).next().is_some();
        let mut others = self.known_as(permit, resident, has_one)?;
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
