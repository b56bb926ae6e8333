//! Users, as devices mirror them: the document of each in the feed of their home facility.

use std::collections::BTreeMap;

use carepost_protocol::id::{FacilityId, UserId};
use carepost_protocol::pin;
use carepost_protocol::record::{Collection, UserDocument};

use super::feed_writer::FeedEnd;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::select;
use crate::store::{StoreError, User};

type Result<T> = std::result::Result<T, StoreError>;

/// One user of the scope.
pub(in crate::store) fn user(tx: &Tx<'_>, id: UserId) -> Result<User> {
    tx.first(select!(User, "users WHERE id = ?1"), params![id])?.ok_or(StoreError::NotFound("user"))
}

/// Puts one into the feed of their home facility.
pub(in crate::store) fn publish(tx: &Tx<'_>, id: UserId) -> Result<()> {
    publish_all(tx, &[id])
}

/// Puts these users into the feeds of their home facilities.
pub(in crate::store) fn publish_all(tx: &Tx<'_>, ids: &[UserId]) -> Result<()> {
    let mut bodies: BTreeMap<FacilityId, Vec<(UserId, String)>> = BTreeMap::new();
    for id in ids {
        if let (Some(facility), body) = document(tx, *id)? {
            bodies.entry(facility).or_default().push((*id, body));
        }
    }
    for (facility, bodies) in bodies {
        tx.within_facility(facility, |tx| {
            let mut feed = FeedEnd::open(tx)?;
            for (id, body) in &bodies {
                feed.put(tx, Collection::Users, id.as_bytes(), None, Some(body))?;
            }
            feed.close(tx)
        })?;
    }
    Ok(())
}

/// What devices mirror of a user, and those of which facility. A PIN that a thief has known for too long is not
/// sent: an agent that does not know what exposed means would go by it for ever.
pub(in crate::store) fn document(tx: &Tx<'_>, id: UserId) -> Result<(Option<FacilityId>, String)> {
    let user = user(tx, id)?;
    let pin_verifier =
        tx.first::<Option<String>>("SELECT pin_verifier FROM users WHERE id = ?1", params![id])?.flatten();
    let expired = user.pin_exposed_at.is_some_and(|exposed| pin::is_expired(exposed, tx.now()));
    let document = UserDocument {
        id,
        display_name: user.display_name,
        role: user.role,
        pin_verifier: pin_verifier.filter(|_| !expired),
        pin_exposed_at: user.pin_exposed_at,
        session_timeout_minutes: user.session_timeout_minutes,
        is_active: user.is_active,
    };
    Ok((user.facility_id, json(&document)?))
}
