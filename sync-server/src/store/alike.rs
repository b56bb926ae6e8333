//! Names that read the same since before another was asked for: a migration leaves them, and without this list whoever
//! has them would first hear of it when a change is refused.

use std::path::Path;

use carepost_protocol::id::{DeviceId, FacilityId, WorkflowId};
use carepost_protocol::text::fold;
use carepost_protocol::workflow::Workflow;

use super::engine::{self, AccessScope, Tx, params};
use super::handles::organization::LATEST_FORMS;
use super::row::select;
use super::{Ambient, DatabaseKey, Organization, StoreError};
use crate::scope::OrganizationScope;

const DEVICES: &str =
    "SELECT facility_id, name, id FROM devices WHERE state <> 'REVOKED' ORDER BY created_at, id";

/// Which organizations, devices in use at a facility and forms on offer in the database at `path` read the same: a
/// sentence for two of them, with what to do. A server may run on it. Blocks.
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
    let forms = tx.all::<(WorkflowId, Workflow)>(LATEST_FORMS, params![])?;
    let offered = forms.into_iter().map(|(_, form)| form).filter(|form| form.enabled);
    found.extend(pairs(offered.map(|form| (fold(&form.label), form)).collect(), |one, other| {
        format!(
            "the forms {} ({:?}) and {} ({:?}) of {slug} read the same: publish one of them with another label, or \
             switched off (`carepost-server workflow publish FILE`)",
            one.key, one.label, other.key, other.label
        )
    }));
    Ok(found)
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
