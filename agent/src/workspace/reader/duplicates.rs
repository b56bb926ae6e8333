//! Duplicate detection: who may be the person that is asked about, or has the same number.

use carepost_protocol::patient::{numbers, same_number};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::role::{Permit, ReadPatients};

use super::Reader;
use super::residents::keep_present;
use crate::workspace::view::{Known, Refused};

impl Reader {
    /// The others who have a number of a resident's, which is one person's, or took the place of somebody who had it.
    pub(crate) fn with_the_number_of(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
    ) -> Result<Vec<Known>, Refused> {
        let mut others: Vec<Known> = Vec::new();
        for number in numbers() {
            let mut asked = PatientDocument { mrn: String::new(), medicare: None, ..resident.clone() };
            asked.set(number.key, &number.of(resident));
            for known in self.known_as(permit, &asked, |one, other| same_number(one, other).is_some())? {
                let id = known.resident.id;
                let is_another = id != resident.id && Some(id) != resident.replaced_by;
                if is_another && others.iter().all(|other| other.resident.id != id) {
                    others.push(Known { number: Some(number.label), ..known });
                }
            }
        }
        Ok(others)
    }

    /// The people of whom that holds beside whoever is asked about, those in care first.
    pub(crate) fn known_as(
        &self,
        permit: &Permit<ReadPatients>,
        asked: &PatientDocument,
        holds: impl Fn(&PatientDocument, &PatientDocument) -> bool,
    ) -> Result<Vec<Known>, Refused> {
        let mut known = self.all_residents(permit)?;
        keep_present(&mut known, |resident| holds(asked, resident));
        let known = known.into_iter().map(|resident| Known::beside(asked, resident.document));
        let mut known: Vec<Known> = known.collect();
        known.sort_by_key(|known| (!known.resident.is_active, known.resident.id));
        Ok(known)
    }
}
