//! Typed reads of the mirror.

use std::cmp::Ordering;

use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::record::{
    BadgeDocument, Collection, FacilityDocument, PatientDocument, RecordDocument, UserDocument,
};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::workflow::Workflow;
use rusqlite::{Connection, Params, params};
use serde::de::DeserializeOwned;

use super::{Mirror, MirrorError, schema};

impl Mirror {
    /// The facility itself; none before its document has come.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn facility(&self) -> Result<Option<FacilityDocument>, MirrorError> {
        let id = self.facility_id();
        one(
            &self.read(),
            Collection::Facilities,
            BY_ID,
            params![schema::number(Collection::Facilities), id.as_bytes()],
        )
    }

    /// A member of staff, active or not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, id: UserId) -> Result<Option<UserDocument>, MirrorError> {
        one(&self.read(), Collection::Users, BY_ID, params![schema::number(Collection::Users), id.as_bytes()])
    }

    /// The badge with that lookup value, active or revoked. Where a card was issued anew, an active
    /// badge comes before a revoked one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn badge(&self, lookup: &str) -> Result<Option<BadgeDocument>, MirrorError> {
        let badges: Vec<BadgeDocument> = all(
            &self.read(),
            Collection::Badges,
            "SELECT body FROM documents WHERE lookup = ? ORDER BY seq DESC",
            params![lookup],
        )?;
        let active = badges.iter().position(|badge| badge.is_active).unwrap_or(0);
        Ok(badges.into_iter().nth(active))
    }

    /// The workflows that can be charted, in the order of their labels.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn workflows(&self) -> Result<Vec<Workflow>, MirrorError> {
        let number = schema::number(Collection::Workflows);
        let mut workflows: Vec<Workflow> =
            all(&self.read(), Collection::Workflows, OF_COLLECTION, params![number])?;
        workflows.retain(|workflow| workflow.enabled);
        workflows.sort_by(|a, b| (&a.label, &a.key).cmp(&(&b.label, &b.key)));
        Ok(workflows)
    }

    /// The residents in care, by room (2 before 10), then name.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn residents(&self, permit: &Permit<ReadPatients>) -> Result<Vec<PatientDocument>, MirrorError> {
        self.permitted(permit)?;
        let number = schema::number(Collection::Patients);
        let mut residents: Vec<PatientDocument> =
            all(&self.read(), Collection::Patients, OF_COLLECTION, params![number])?;
        residents.retain(|resident| resident.is_active);
        residents.sort_by(by_room_then_name);
        Ok(residents)
    }

    /// A resident, in care or not.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn resident(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
    ) -> Result<Option<PatientDocument>, MirrorError> {
        self.permitted(permit)?;
        one(
            &self.read(),
            Collection::Patients,
            BY_ID,
            params![schema::number(Collection::Patients), id.as_bytes()],
        )
    }

    /// A resident's latest records, newest first; one from the future counts as made when it came.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn records(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        limit: usize,
    ) -> Result<Vec<RecordDocument>, MirrorError> {
        self.permitted(permit)?;
        all(
            &self.read(),
            Collection::Records,
            "SELECT body FROM documents WHERE patient = ? AND collection = ? ORDER BY recorded_at DESC, id DESC LIMIT ?",
            params![
                patient.as_bytes(),
                schema::number(Collection::Records),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
        )
    }
}

const BY_ID: &str = "SELECT body FROM documents WHERE collection = ? AND id = ?";
const OF_COLLECTION: &str = "SELECT body FROM documents WHERE collection = ?";

fn one<T: DeserializeOwned>(
    connection: &Connection,
    collection: Collection,
    sql: &str,
    parameters: impl Params,
) -> Result<Option<T>, MirrorError> {
    Ok(all(connection, collection, sql, parameters)?.into_iter().next())
}

fn all<T: DeserializeOwned>(
    connection: &Connection,
    collection: Collection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<T>, MirrorError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_bytes().map_err(rusqlite::Error::from)?;
        let document = serde_json::from_slice(body)
            .map_err(|source| MirrorError::NotUnderstood { collection: collection.name(), source })?;
        documents.push(document);
    }
    Ok(documents)
}

fn by_room_then_name(a: &PatientDocument, b: &PatientDocument) -> Ordering {
    let room = match (&a.room, &b.room) {
        (Some(a), Some(b)) => natural(a, b),
        // Residents without a room come last.
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    room.then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id))
}

/// Compares as people number rooms: 2 before 10, 10 before 10A.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (a_digits, a_rest) = split_number(a);
        let (b_digits, b_rest) = split_number(b);
        let order = if a_digits.is_empty() || b_digits.is_empty() {
            let (a_letter, b_letter) = (a.chars().next(), b.chars().next());
            if a_letter.is_none() && b_letter.is_none() {
                return Ordering::Equal;
            }
            (a, b) = (after_first(a), after_first(b));
            a_letter.cmp(&b_letter)
        } else {
            (a, b) = (a_rest, b_rest);
            // Without leading zeros, the longer number is the greater.
            a_digits.len().cmp(&b_digits.len()).then_with(|| a_digits.cmp(b_digits))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let significant = digits.trim_start_matches('0');
    // "0" and "00" are numbers too.
    if significant.is_empty() && !digits.is_empty() { ("0", rest) } else { (significant, rest) }
}

fn after_first(text: &str) -> &str {
    let mut letters = text.chars();
    letters.next();
    letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_sort_as_people_number_them() {
        let mut rooms = ["10A", "2", "10", "B1", "A10", "A2", "02b", "", "1"];
        rooms.sort_by(|a, b| natural(a, b));
        assert_eq!(rooms, ["", "1", "2", "02b", "10", "10A", "A2", "A10", "B1"]);
    }
}
