//! Typed reads of the mirror. Those of residents take a permit.

use std::sync::Arc;

use carepost_protocol::id::{PatientId, RecordId, ReviewId, UserId, WorkflowId};
use carepost_protocol::record::{
    BadgeDocument, BadgeKeysDocument, Collection, FacilityDocument, PatientDocument, RecordDocument,
    ReviewDocument, UserDocument,
};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::text::{name_key, sort_key};
use carepost_protocol::workflow::Workflow;
use rusqlite::{Connection, OptionalExtension, Params, params};
use serde::de::DeserializeOwned;

use super::{Mirror, MirrorError, revoked, schema};

impl Mirror {
    /// The facility itself; none before its document has come.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn facility(&self) -> Result<Option<Arc<FacilityDocument>>, MirrorError> {
        let id = self.facility_id();
        self.kept.get(&self.kept.facility, || {
            Ok(self.document(Collection::Facilities, id.as_bytes())?.map(Arc::new))
        })
    }

    /// A member of staff, active or not: not, where the server has said so ahead of the feed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, id: UserId) -> Result<Option<UserDocument>, MirrorError> {
        self.reading(|reader| {
            let mut user: Option<UserDocument> = by_id(reader, Collection::Users, id.as_bytes())?;
            if let Some(user) = &mut user {
                user.is_active &= !revoked::is_user(reader, id)?;
            }
            Ok(user)
        })
    }

    /// A card's badge, active or revoked. `under` says by which lookup values it may be known, given the keys
    /// that were laid over the badge key; both are of one state. Where a card was issued anew, an active badge
    /// comes before a revoked one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn badge(
        &self,
        under: impl FnOnce(&[String]) -> Vec<String>,
    ) -> Result<Option<BadgeDocument>, MirrorError> {
        const SQL: &str = "SELECT body FROM documents WHERE lookup = ? ORDER BY seq DESC";
        let badges = self.reading(|reader| {
            let reader = reader.unchecked_transaction()?;
            let keys = by_id(&reader, Collection::Facilities, BadgeKeysDocument::ID.as_bytes())?;
            let keys = keys.map_or_else(Vec::new, |document: BadgeKeysDocument| document.keys);
            let mut badges: Vec<BadgeDocument> = Vec::new();
            for lookup in under(&keys) {
                badges.extend(all(&reader, Collection::Badges, SQL, params![lookup])?);
            }
            for badge in &mut badges {
                badge.is_active &= !revoked::is_badge(&reader, badge.id)?;
            }
            Ok(badges)
        })?;
        let active = badges.iter().position(|badge| badge.is_active).unwrap_or(0);
        Ok(badges.into_iter().nth(active))
    }

    /// The workflows, each in its latest version, offered or not, in the order of their labels.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn workflows(&self) -> Result<Arc<[Arc<Workflow>]>, MirrorError> {
        const SQL: &str = "SELECT body FROM documents WHERE collection = ? AND id < ?";
        let number = schema::number(Collection::Workflows);
        self.kept.get(&self.kept.workflows, || {
            let mut workflows: Vec<Workflow> = self.reading(|reader| {
                all(reader, Collection::Workflows, SQL, params![number, WorkflowId::LAST.as_bytes()])
            })?;
            workflows.sort_by_cached_key(|form| (sort_key(&form.label), form.key.clone()));
            Ok(workflows.into_iter().map(Arc::new).collect())
        })
    }

    /// A version of a workflow whose place a later one took; none where it is not here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn superseded(&self, key: &str, version: u32) -> Result<Option<Workflow>, MirrorError> {
        self.document(Collection::Workflows, WorkflowId::of_version(key, version).as_bytes())
    }

    /// The residents, in care or not, whoever changed last first.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn all_residents(&self, permit: &Permit<ReadPatients>) -> Result<Vec<PatientDocument>, MirrorError> {
        const SQL: &str = "SELECT body FROM documents WHERE collection = ? ORDER BY seq DESC";
        self.permitted(permit)?;
        let number = schema::number(Collection::Patients);
        self.reading(|reader| all(reader, Collection::Patients, SQL, [number]))
    }

    /// The residents in care, by room (2 before 10), then name.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn residents(&self, permit: &Permit<ReadPatients>) -> Result<Vec<PatientDocument>, MirrorError> {
        let mut residents = self.all_residents(permit)?;
        residents.retain(|resident| resident.is_active);
        residents.sort_by_cached_key(by_room_then_name);
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
        self.document(Collection::Patients, id.as_bytes())
    }

    /// The place in the feed of a document's version; none when it is not here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn version(&self, collection: Collection, id: RecordId) -> Result<Option<u64>, MirrorError> {
        const SQL: &str = "SELECT seq FROM documents WHERE collection = ? AND id = ?";
        self.reading(|reader| {
            let found: Option<i64> = reader
                .prepare_cached(SQL)?
                .query_row(params![schema::number(collection), id.as_bytes()], |row| row.get(0))
                .optional()?;
            Ok(found.map(|seq| u64::try_from(seq).unwrap_or(0)))
        })
    }

    /// A record, whoever it is about.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn record(
        &self,
        permit: &Permit<ReadPatients>,
        id: RecordId,
    ) -> Result<Option<RecordDocument>, MirrorError> {
        self.permitted(permit)?;
        self.document(Collection::Records, id.as_bytes())
    }

    /// A review, open or not.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn review(
        &self,
        permit: &Permit<ReadPatients>,
        id: ReviewId,
    ) -> Result<Option<ReviewDocument>, MirrorError> {
        self.permitted(permit)?;
        self.document(Collection::Reviews, id.as_bytes())
    }

    /// What somebody has to look at, oldest first.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn open_reviews(
        &self,
        permit: &Permit<ReadPatients>,
        limit: usize,
    ) -> Result<Vec<ReviewDocument>, MirrorError> {
        // A review's id begins with when it was opened.
        const SQL: &str =
            "SELECT body FROM documents WHERE lookup = ? AND collection = ? ORDER BY id LIMIT ?";
        self.permitted(permit)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let open = params![schema::OPEN, schema::number(Collection::Reviews), limit];
        self.reading(|reader| all(reader, Collection::Reviews, SQL, open))
    }

    /// What somebody has to look at about one resident.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn open_reviews_of(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
    ) -> Result<Vec<ReviewDocument>, MirrorError> {
        // Of what is about the resident, what is no record: however many reviews are open, and records here.
        const SQL: &str = "SELECT body FROM documents INDEXED BY documents_by_patient
            WHERE patient = ? AND amends IS NULL AND recorded_at IS NULL AND collection = ? AND lookup = ?";
        self.permitted(permit)?;
        let open = params![patient.as_bytes(), schema::number(Collection::Reviews), schema::OPEN];
        self.reading(|reader| all(reader, Collection::Reviews, SQL, open))
    }

    /// The last review that was closed of the corrections of a record that stand side by side; none where none was.
    ///
    /// # Errors
    /// [`MirrorError::OtherFacility`] when the permit is for another place.
    pub fn closed_review_of(
        &self,
        permit: &Permit<ReadPatients>,
        record: RecordId,
    ) -> Result<Option<ReviewDocument>, MirrorError> {
        const SQL: &str =
            "SELECT body FROM documents WHERE lookup = ? AND collection = ? ORDER BY id DESC LIMIT 1";
        self.permitted(permit)?;
        let closed = params![schema::corrections_of(record), schema::number(Collection::Reviews)];
        let mut found = self.reading(|reader| all(reader, Collection::Reviews, SQL, closed))?;
        Ok(found.pop())
    }

    fn document<T: DeserializeOwned>(
        &self,
        collection: Collection,
        id: &[u8; 16],
    ) -> Result<Option<T>, MirrorError> {
        self.reading(|reader| by_id(reader, collection, id))
    }
}

pub(super) fn by_id<T: DeserializeOwned>(
    reader: &Connection,
    collection: Collection,
    id: &[u8; 16],
) -> Result<Option<T>, MirrorError> {
    const SQL: &str = "SELECT body FROM documents WHERE collection = ? AND id = ?";
    let mut found = all(reader, collection, SQL, params![schema::number(collection), id])?;
    Ok(found.pop())
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

/// What residents sort by, as people look for them: by room (2 before 10; whoever has none comes last), then name.
#[must_use]
pub fn by_room_then_name(resident: &PatientDocument) -> (bool, String, String, PatientId) {
    let room = resident.room.as_deref().map(sort_key);
    (room.is_none(), room.unwrap_or_default(), name_key(&resident.name), resident.id)
}
