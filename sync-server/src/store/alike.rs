//! Names that read the same since before another was asked for: a migration leaves them, and without this list whoever
//! has them would first hear of it when a change is refused, or when signing in is.

use std::path::Path;

use carepost_protocol::id::{DeviceId, FacilityId, UserId, WorkflowId};
use carepost_protocol::text::fold;
use carepost_protocol::workflow::Workflow;

use super::engine::{self, AccessScope, FromRow, Tx, params};
use super::handles::organization::LATEST_FORMS;
use super::row::select;
use super::{Ambient, DatabaseKey, Organization, StoreError};
use crate::scope::OrganizationScope;

const DEVICES: &str =
    "SELECT facility_id, name, id FROM devices WHERE state <> 'REVOKED' ORDER BY created_at, id";

/// What is found by a name and has a key of its own for it, which is not the name's where another had that.
const ADMINISTRATORS: &str =
    "SELECT id, username, username_key FROM system_platform_admins ORDER BY created_at, id";
const USERS: &str = "SELECT id, username, username_key FROM users ORDER BY created_at, id";
const EMAILS: &str = "SELECT id, email, email_key FROM users WHERE email IS NOT NULL ORDER BY created_at, id";
const FACILITIES: &str = "SELECT id, name, name_key FROM facilities ORDER BY created_at, id";

/// Which organizations, devices in use at a facility and forms on offer in the database at `path` read the same: a
/// sentence for two of them, with what to do; and one for each user, facility and platform administrator whose name a
/// migration or a restore found to be another's. A server may run on it. Blocks.
///
/// # Errors
/// When the database cannot be read.
pub fn alike(path: &Path, key: &DatabaseKey, ambient: &Ambient) -> Result<Vec<String>, StoreError> {
    engine::observed(path, key, ambient, |tx| {
        let organizations: Vec<Organization> =
            tx.all(select!(Organization, "system_organizations ORDER BY created_at, id"), params![])?;
        let mut found = pairs(organizations.iter().map(|it| (fold(&it.name), it)).collect(), |one, other| {
            format!(
                "the organizations {} and {} read the same, {:?}: give one of them another name \
                 (`carepost-server org rename {} NAME`), unless both are meant to be called so",
                one.slug, other.slug, other.name, other.slug
            )
        });
        found.extend(parked::<UserId>(tx, ADMINISTRATORS, |name, id| {
            format!(
                "the platform administrator {name:?} ({id}) reads the same as another, and cannot sign in; the other \
                 can, and may do all that this one might"
            )
        })?);
        for it in &organizations {
            let scope = AccessScope::Organization(OrganizationScope::of_operator(it.id));
            found.extend(tx.within(scope, |tx| of_organization(tx, &it.slug))?);
        }
        Ok(found)
    })
}

fn of_organization(tx: &Tx<'_>, slug: &str) -> Result<Vec<String>, StoreError> {
    let devices: Vec<(FacilityId, String, DeviceId)> = tx.all(DEVICES, params![])?;
    let devices =
        devices.into_iter().map(|(facility, name, id)| ((facility, fold(&name)), (name, id))).collect();
    let mut found = pairs(devices, |(one, id), (other, other_id)| {
        format!(
            "the devices {one:?} ({id}) and {other:?} ({other_id}) of one facility of {slug} read the same: give one of \
             them another name (`carepost-server device rename {other_id} NAME`)"
        )
    });
    let forms = tx.all::<(WorkflowId, String)>(LATEST_FORMS, params![])?;
    // One that another version wrote, and that cannot be read, hides nothing of the others.
    let offered = forms.iter().filter_map(|(_, form)| serde_json::from_str::<Workflow>(form).ok());
    let offered = offered.filter(|form| form.enabled);
    found.extend(pairs(offered.map(|form| (fold(&form.label), form)).collect(), |one, other| {
        format!(
            "the forms {} ({:?}) and {} ({:?}) of {slug} read the same: publish one of them with another label, or \
             switched off (`carepost-server workflow publish FILE`)",
            one.key, one.label, other.key, other.label
        )
    }));
    found.extend(parked::<UserId>(tx, USERS, |name, id| {
        format!(
            "the username {name:?} ({id}) of {slug} reads the same as another's: whose it is cannot sign in at the \
             server until `carepost-server user rename {id} NAME` gives another"
        )
    })?);
    found.extend(parked::<UserId>(tx, EMAILS, |_, id| {
        format!(
            "the e-mail address of the user {id} of {slug} reads the same as another's: give one of them another \
             (PUT /api/v1/users/{id})"
        )
    })?);
    found.extend(parked::<FacilityId>(tx, FACILITIES, |name, id| {
        format!(
            "the facility {name:?} ({id}) of {slug} reads the same as another: give it another name \
             (`carepost-server facility rename {id} NAME`)"
        )
    })?);
    Ok(found)
}

/// What is said of each that is not found by its name.
fn parked<I: for<'r> FromRow<'r>>(
    tx: &Tx<'_>,
    sql: &'static str,
    says: impl Fn(&str, &I) -> String,
) -> Result<Vec<String>, StoreError> {
    let all = tx.all::<(I, String, String)>(sql, params![])?;
    Ok(all.iter().filter(|(_, name, key)| *key != fold(name)).map(|(id, name, _)| says(name, id)).collect())
}

/// What is said of each whose key another has.
fn pairs<K: Ord, T>(mut of: Vec<(K, T)>, says: impl Fn(&T, &T) -> String) -> Vec<String> {
    of.sort_by(|(one, _), (other, _)| one.cmp(other));
    let said = of.windows(2).filter_map(|pair| match pair {
        [(key, one), (others, other)] if key == others => Some(says(one, other)),
        _ => None,
    });
    said.collect()
}
