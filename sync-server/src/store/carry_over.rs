//! Carrying over: what a database that was put back must not forget, who may do less than it knows, as the database
//! that it replaces says. Only towards safer: nothing that was switched off, on either side, works afterwards, and
//! what exists in the replaced one alone is taken over switched off. Users and devices have the names that they were
//! given there: by the old ones nobody knows them any more.

use std::collections::BTreeMap;

use carepost_protocol::id::{BadgeId, FacilityId, OrganizationId, UserId};
use carepost_protocol::record::Collection;

use super::StoreError;
use super::engine::{AccessScope, ToValue, Tx, Value, params};
use super::handles::organization::{parked_key, remove_badge, unfinished};
use super::row::{columns, sql};
use super::rules::badge_keys;
use super::rules::feed_writer::put;
use super::rules::user;
use crate::scope::OrganizationScope;

type Result<T> = std::result::Result<T, StoreError>;

/// What a column of a row holds.
type Column = Value<'static>;

/// Rows by their ids, each with its columns in the order of its table's list.
type Rows = BTreeMap<[u8; 16], Vec<Column>>;

/// What a database knows of who may do what.
#[derive(Debug, Default)]
pub(super) struct AccessState {
    admins: Rows,
    /// Failed sign-ins and locks.
    sign_ins: Rows,
    organizations: BTreeMap<OrganizationId, Registry>,
}

/// The same of one organization.
#[derive(Debug, Default)]
struct Registry {
    name: String,
    facilities: Rows,
    users: Rows,
    terms: Rows,
    badges: Rows,
    devices: Rows,
    assignments: Rows,
}

/// How a table's rows are read, and taken over where both have them, or where there are none yet; `off` when
/// a row cannot be. The first column is the id, the second a name.
struct Table {
    word: &'static str,
    list: List,
    update: &'static str,
    insert: &'static str,
    off: &'static str,
    /// What is said when a column differs afterwards; with its value, where that ends in a blank.
    told: &'static [(&'static str, &'static str)],
}

/// The columns of a table, and the statement that reads them. Update and insert have a placeholder for each.
struct List {
    columns: &'static [&'static str],
    select: &'static str,
}

macro_rules! list {
    ($from:literal: $($column:ident $(= $read:literal)?,)+) => {
        List {
            columns: &[$(stringify!($column)),+],
            select: sql!("SELECT ", columns!($($column $(= $read)?,)+), " FROM ", $from),
        }
    };
}

const ADMINS: Table = Table {
    word: "platform administrator",
    list: list! {
        "system_platform_admins":
        id, username, username_key, display_name, session_timeout_minutes, created_at, is_active,
        password_hash,
    },
    update: "UPDATE system_platform_admins SET is_active = CASE WHEN ?7 = 1 THEN is_active ELSE 0 END,
            password_hash = ?8 WHERE id = ?1",
    insert: "INSERT INTO system_platform_admins (id, username, username_key, display_name,
            session_timeout_minutes, created_at, is_active, password_hash)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?8)",
    off: "UPDATE system_platform_admins SET is_active = 0 WHERE id = ?1",
    told: &[("is_active", "switched off"), ("password_hash", "another password")],
};

/// Those of the replaced database are the later ones: they hold, and nothing else.
const SIGN_INS: Table = Table {
    word: "sign-in",
    list: list! {
        "system_sign_ins":
        id, place, name, network, organization_id, failures, failed_at, locked_until, good_at,
    },
    update: "",
    insert: "INSERT INTO system_sign_ins (id, place, name, network, organization_id, failures, failed_at,
            locked_until, good_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    off: "",
    told: &[],
};

const FACILITIES: Table = Table {
    word: "facility",
    list: list! {
        "facilities":
        id, name, phi_mode, badge_layers, require_encryption, record_days,
    },
    update: "UPDATE facilities SET phi_mode = CASE WHEN 'free' IN (phi_mode, ?3) THEN 'free'
            WHEN 'minimal' IN (phi_mode, ?3) THEN 'minimal' ELSE phi_mode END, badge_layers = ?4,
            require_encryption = CASE WHEN ?5 = 1 THEN 1 ELSE require_encryption END,
            record_days = CASE WHEN record_days IS NULL OR ?6 < record_days THEN ?6 ELSE record_days END
            WHERE id = ?1",
    insert: "",
    off: "",
    told: &[
        ("phi_mode", "devices are sent "),
        ("badge_layers", "a new badge key, as a device was lost"),
        ("require_encryption", "devices have to be encrypted"),
        ("record_days", "records leave the devices sooner"),
    ],
};

const USERS: Table = Table {
    word: "user",
    list: list! {
        "users":
        id, username, username_key, email, email_key, display_name, employee_id, created_at,
        facility_id, role, is_active, password_hash, pin_verifier, pin_exposed_at, pin_answers,
        pin_set_at, session_timeout_minutes, sort_key,
    },
    update: "UPDATE users SET display_name = ?6, sort_key = ?18, facility_id = ?9, role = ?10,
            is_active = CASE WHEN ?11 = 1 THEN is_active ELSE 0 END,
            password_hash = ?12, pin_verifier = ?13, pin_exposed_at = ?14, pin_answers = ?15, pin_set_at = ?16,
            session_timeout_minutes = CASE WHEN ?17 < session_timeout_minutes THEN ?17
                ELSE session_timeout_minutes END WHERE id = ?1",
    insert: "INSERT INTO users (id, username, username_key, email, email_key, display_name, employee_id,
            created_at, facility_id, role, is_active, password_hash, pin_verifier, pin_exposed_at, pin_answers,
            pin_set_at, session_timeout_minutes, sort_key)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    off: "UPDATE users SET is_active = 0 WHERE id = ?1",
    told: &[
        ("username", "renamed"),
        ("email", "another e-mail address"),
        ("display_name", "another name that people see"),
        ("is_active", "switched off"),
        ("facility_id", "another facility"),
        ("role", "now "),
        ("password_hash", "another password"),
        ("pin_verifier", "another PIN"),
        ("pin_exposed_at", "the PIN was on a lost device"),
    ],
};

const TERMS: Table = Table {
    word: "term",
    list: list! {
        "user_terms":
        id, user_id, facility_id, role, from_at, until_at,
    },
    update: "UPDATE user_terms
            SET until_at = CASE WHEN until_at IS NULL OR ?6 < until_at THEN ?6 ELSE until_at END
            WHERE id = ?1 AND user_id = ?2",
    insert: "INSERT INTO user_terms (id, user_id, facility_id, role, from_at, until_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    off: "",
    told: &[],
};

const BADGES: Table = Table {
    word: "badge of",
    list: list! {
        "badges":
        id, username = "(SELECT username FROM users WHERE users.id = badges.user_id)", user_id,
        facility_id, created_at, is_active, lookup, issued_by,
    },
    update: "UPDATE badges SET is_active = CASE WHEN ?6 = 1 THEN is_active ELSE 0 END, lookup = ?7,
            issued_by = ?8 WHERE id = ?1",
    insert: "INSERT INTO badges (id, user_id, facility_id, created_at, is_active, lookup, issued_by)
            VALUES (?1, ?3, ?4, ?5, 0, ?7, ?8)",
    off: "UPDATE badges SET is_active = 0 WHERE id = ?1",
    told: &[("is_active", "revoked")],
};

/// A device's mode is taken with its facility's, as it comes to.
const DEVICES: Table = Table {
    word: "device",
    list: list! {
        "devices":
        id, name, facility_id, device_type, state, device_uuid, mac_addresses, token_sha256,
        key_sha256, public_key, created_at, quarantine, deactivation,
        phi_mode
            = "coalesce(phi_mode, (SELECT phi_mode FROM facilities AS f WHERE f.id = devices.facility_id))",
    },
    update: "UPDATE devices SET name = ?2, state = CASE
                WHEN 'REVOKED' IN (state, ?5) THEN 'REVOKED'
                WHEN 'QUARANTINED' IN (state, ?5) OR (state <> 'ACTIVE' AND ?5 = 'ACTIVE') THEN 'QUARANTINED'
                ELSE state END,
            facility_id = CASE WHEN key_sha256 IS NULL THEN ?3 ELSE facility_id END,
            device_type = CASE WHEN ?4 = 'BADGE_READER' THEN ?4 ELSE device_type END,
            token_sha256 = CASE WHEN ?8 IS NULL THEN NULL ELSE token_sha256 END,
            key_sha256 = coalesce(key_sha256, ?9), public_key = coalesce(public_key, ?10),
            quarantine = coalesce(?12, quarantine,
                CASE WHEN state <> 'ACTIVE' AND ?5 = 'ACTIVE' THEN 'restored' END),
            deactivation = CASE WHEN deactivation = 'lost' THEN deactivation
                ELSE coalesce(?13, deactivation) END,
            phi_mode = CASE
                WHEN ?14 = 'free' OR (?14 = 'minimal' AND coalesce(phi_mode,
                    (SELECT phi_mode FROM facilities AS f WHERE f.id = devices.facility_id)) = 'full')
                THEN ?14 ELSE phi_mode END
            WHERE id = ?1",
    insert: "INSERT INTO devices (id, name, facility_id, device_type, state, device_uuid, mac_addresses,
            key_sha256, public_key, created_at, quarantine, deactivation, phi_mode, waiting, wedged,
            cursor_refused) VALUES (?1, ?2, ?3, ?4, CASE WHEN ?5 = 'ACTIVE' THEN 'QUARANTINED' ELSE ?5 END,
            ?6, ?7, ?9, ?10, ?11, coalesce(?12, 'restored'), ?13, ?14, 0, 0, 0)",
    off: "UPDATE devices SET state = 'QUARANTINED', quarantine = 'restored' WHERE id = ?1 AND state = 'ACTIVE'",
    told: &[
        ("name", "renamed"),
        ("state", "now "),
        ("token_sha256", "its token was used"),
        ("device_type", "now a "),
        ("phi_mode", "is sent "),
    ],
};

const ASSIGNMENTS: Table = Table {
    word: "assignment",
    list: list! {
        "assignments":
        id, facility_id, device_id, from_at, until_at,
    },
    update: "UPDATE assignments
            SET until_at = CASE WHEN until_at IS NULL OR ?5 < until_at THEN ?5 ELSE until_at END
            WHERE id = ?1",
    insert: "INSERT INTO assignments (id, facility_id, device_id, from_at, until_at)
            VALUES (?1, ?2, ?3, ?4, ?5)",
    off: "",
    told: &[],
};

impl AccessState {
    /// What the database at hand knows, as it would be once what was begun there for lost devices is done. System
    /// access.
    pub(super) fn read(tx: &Tx<'_>) -> Result<Self> {
        let mut state = Self::stored(tx)?;
        for (id, registry) in &mut state.organizations {
            tx.within(access(*id), |tx| registry.finish(tx))?;
        }
        Ok(state)
    }

    fn stored(tx: &Tx<'_>) -> Result<Self> {
        let organizations = "SELECT id, name FROM system_organizations";
        let (admins, sign_ins) = (ADMINS.rows(tx)?, SIGN_INS.rows(tx)?);
        let organizations = tx.all::<(OrganizationId, String)>(organizations, params![])?;
        let read = |(id, name)| Ok((id, Registry::read(tx, id, name)?));
        let organizations = organizations.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Self { admins, sign_ins, organizations })
    }

    /// Carries it over into the database at hand. Says what that came to, a sentence for each.
    pub(super) fn carry_over(mut self, tx: &Tx<'_>) -> Result<Vec<String>> {
        let before = Self::stored(tx)?;
        let mut said = Vec::new();
        ADMINS.take_over(tx, &self.admins, &before.admins, &mut said)?;
        tx.execute("DELETE FROM system_sign_ins", params![])?;
        SIGN_INS.take_over(tx, &self.sign_ins, &Rows::new(), &mut said)?;
        for (id, registry) in &mut self.organizations {
            match before.organizations.get(id) {
                Some(ours) => tx.within(access(*id), |tx| registry.carry_over(tx, ours, &mut said))?,
                None => said.push(format!("organization {}: the backup does not have it", registry.name)),
            }
        }
        let after = Self::stored(tx)?;
        ADMINS.tell(&before.admins, &after.admins, &mut said);
        for (id, ours) in &before.organizations {
            let Some(after) = after.organizations.get(id) else { continue };
            tx.within(access(*id), |tx| after.publish(tx, ours))?;
            FACILITIES.tell(&ours.facilities, &after.facilities, &mut said);
            USERS.tell(&ours.users, &after.users, &mut said);
            BADGES.tell(&ours.badges, &after.badges, &mut said);
            DEVICES.tell(&ours.devices, &after.devices, &mut said);
        }
        Ok(said)
    }
}

impl Registry {
    fn read(tx: &Tx<'_>, id: OrganizationId, name: String) -> Result<Self> {
        tx.within(access(id), |tx| {
            Ok(Self {
                name,
                facilities: FACILITIES.rows(tx)?,
                users: USERS.rows(tx)?,
                terms: TERMS.rows(tx)?,
                badges: BADGES.rows(tx)?,
                devices: DEVICES.rows(tx)?,
                assignments: ASSIGNMENTS.rows(tx)?,
            })
        })
    }

    fn finish(&mut self, tx: &Tx<'_>) -> Result<()> {
        for id in self.facilities.keys() {
            let unfinished = unfinished(tx, FacilityId::from_bytes(*id))?;
            for (badge, lookup) in unfinished.lookups {
                let row = self.badges.get_mut(badge.as_bytes());
                if let Some(column) = row.and_then(|row| BADGES.of_mut(row, "lookup")) {
                    *column = Value::Text(lookup.into());
                }
            }
            for user in unfinished.pins {
                let row = self.users.get_mut(user.as_bytes());
                if let Some(column) = row.and_then(|row| USERS.of_mut(row, "pin_exposed_at")) {
                    *column = Value::Integer(tx.now().as_millis());
                }
            }
        }
        Ok(())
    }

    fn carry_over(&mut self, tx: &Tx<'_>, ours: &Self, said: &mut Vec<String>) -> Result<()> {
        let gone = self.facilities.extract_if(.., |id, _| !ours.facilities.contains_key(id));
        said.extend(gone.map(|(_, row)| format!("facility {}: the backup does not have it", name(&row))));
        let apart = self.badges_apart(ours);
        FACILITIES.take_over(tx, &self.facilities, &ours.facilities, said)?;
        rename_users(tx, &self.users, &ours.users, said)?;
        USERS.take_over(tx, &self.users, &ours.users, said)?;
        TERMS.take_over(tx, &self.terms, &ours.terms, said)?;
        for (id, row) in ours.badges.iter().filter(|(id, _)| !self.badges.contains_key(*id)) {
            remove_badge(tx, BadgeId::from_bytes(*id))?;
            said.push(format!("badge of {}: gone", name(row)));
        }
        BADGES.take_over(tx, &self.badges, &ours.badges, said)?;
        apart.into_iter().try_for_each(|facility| badge_keys::rekey(tx, facility))?;
        // Nobody has the token of a device that was never let in any more.
        let expected = |row: &[Column]| DEVICES.of(row, "key_sha256") == Some(&Value::Null);
        let gone = self.devices.extract_if(.., |id, row| !ours.devices.contains_key(id) && expected(row));
        said.extend(gone.map(|(_, row)| format!("device {}: register it again", name(&row))));
        DEVICES.take_over(tx, &self.devices, &ours.devices, said)?;
        ASSIGNMENTS.take_over(tx, &self.assignments, &ours.assignments, said)?;
        end(tx)
    }

    /// Where the two have laid different keys over the first, ours stay, with a new one over them: both sides
    /// may have lost devices. Gives those facilities; elsewhere theirs hold.
    fn badges_apart(&mut self, ours: &Self) -> Vec<FacilityId> {
        let mut apart = Vec::new();
        for (id, row) in &mut self.facilities {
            let (theirs, kept) = (
                blob(FACILITIES.of(row, "badge_layers")),
                ours.facilities.get(id).and_then(|row| FACILITIES.of(row, "badge_layers")),
            );
            if theirs.starts_with(blob(kept)) {
                continue;
            }
            if let (Some(theirs), Some(kept)) = (FACILITIES.of_mut(row, "badge_layers"), kept) {
                *theirs = kept.clone();
            }
            apart.push(FacilityId::from_bytes(*id));
            for (badge, row) in &mut self.badges {
                let kept = ours.badges.get(badge).and_then(|row| BADGES.of(row, "lookup"));
                let here = blob(BADGES.of(row, "facility_id")) == id;
                if let (Some(theirs), Some(kept), true) = (BADGES.of_mut(row, "lookup"), kept, here) {
                    *theirs = kept.clone();
                }
            }
        }
        apart
    }

    /// Puts staff and badges into the feeds as they are now.
    fn publish(&self, tx: &Tx<'_>, before: &Self) -> Result<()> {
        let place = |of: &Self, id| {
            let facility = of.users.get(id).map(|row| blob(USERS.of(row, "facility_id")))?;
            facility.try_into().ok().map(FacilityId::from_bytes)
        };
        for id in self.users.keys() {
            let left = place(before, id).filter(|left| Some(*left) != place(self, id));
            if let Some(facility) = left {
                tx.within_facility(facility, |tx| put(tx, Collection::Users, id, None, None))?;
            }
        }
        user::publish_all(tx, &self.users.keys().copied().map(UserId::from_bytes).collect::<Vec<_>>())?;
        let mut facilities = self.facilities.keys().copied().map(FacilityId::from_bytes);
        facilities.try_for_each(|facility| badge_keys::publish_all(tx, facility))
    }
}

impl Table {
    /// What a row has in a column.
    fn of<'a>(&self, row: &'a [Column], name: &str) -> Option<&'a Column> {
        row.get(self.place(name)?)
    }

    fn of_mut<'a>(&self, row: &'a mut [Column], name: &str) -> Option<&'a mut Column> {
        row.get_mut(self.place(name)?)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.list.columns.iter().position(|column| *column == name)
    }

    fn rows(&self, tx: &Tx<'_>) -> Result<Rows> {
        let rows: Vec<Vec<Column>> = tx.all(self.list.select, params![])?;
        let named = |row: Vec<Column>| {
            let id = blob(row.first()).try_into().map_err(|_| StoreError::Unreadable("ids"))?;
            Ok((id, row))
        };
        rows.into_iter().map(named).collect()
    }

    fn take_over(&self, tx: &Tx<'_>, theirs: &Rows, ours: &Rows, said: &mut Vec<String>) -> Result<()> {
        for (id, row) in theirs {
            let known = ours.contains_key(id);
            let sql = if known { self.update } else { self.insert };
            match tx.savepoint(|tx| tx.execute(sql, &placed(row))) {
                Ok(_) if known || self.told.is_empty() => {}
                Ok(_) => said.push(format!("{} {}: new since, and switched off", self.word, name(row))),
                Err(fault) if fault.is_constraint() => {
                    if known && !self.off.is_empty() {
                        tx.execute(self.off, params![id])?;
                    }
                    if !self.told.is_empty() {
                        said.push(format!("{} {}: the backup has no place for it", self.word, name(row)));
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// What differs of what was there before.
    fn tell(&self, before: &Rows, after: &Rows, said: &mut Vec<String>) {
        for (id, was) in before {
            let Some(is) = after.get(id) else { continue };
            let differs = self.told.iter().filter(|(column, _)| self.of(was, column) != self.of(is, column));
            let words: Vec<String> = differs
                .map(|(column, word)| match self.of(is, column) {
                    Some(Value::Text(value)) if word.ends_with(' ') => format!("{word}{value}"),
                    Some(_) | None => word.trim_end().to_owned(),
                })
                .collect();
            if !words.is_empty() {
                said.push(format!("{} {}: {}", self.word, name(is), words.join(", ")));
            }
        }
    }
}

/// What is one user's alone in an organization, and can be given to another: how it is given up and set.
struct Own {
    columns: [&'static str; 2],
    give_up: &'static str,
    set: &'static str,
    /// What is said where it is another's in the backup.
    taken: &'static str,
}

const OWN: [Own; 2] = [
    Own {
        columns: ["username", "username_key"],
        give_up: "UPDATE users SET username_key = ?2 WHERE id = ?1",
        set: "UPDATE users SET username = ?2, username_key = ?3 WHERE id = ?1",
        taken: "the backup has another of that name; give one with `user rename",
    },
    Own {
        columns: ["email", "email_key"],
        give_up: "UPDATE users SET email = NULL, email_key = NULL WHERE id = ?1 AND ?2 IS NOT NULL",
        set: "UPDATE users SET email = ?2, email_key = ?3 WHERE id = ?1",
        taken: "the backup has another with that e-mail address; give one by the API, to user `",
    },
];

/// Gives users the names and e-mail addresses that they were given since. One may have another's old one, so all give
/// up theirs first. Whose new one is another's has the old one again, unless that is another's by now.
fn rename_users(tx: &Tx<'_>, theirs: &Rows, ours: &Rows, said: &mut Vec<String>) -> Result<()> {
    for own in OWN {
        let renamed: Vec<_> = theirs
            .iter()
            .filter_map(|(id, row)| Some((id, row, ours.get(id)?)))
            .filter(|(_, row, was)| own.columns.iter().any(|it| USERS.of(was, it) != USERS.of(row, it)))
            .collect();
        for (id, ..) in &renamed {
            tx.execute(own.give_up, params![*id, parked_key(UserId::from_bytes(**id))])?;
        }
        let set = |id: &[u8; 16], row: &[Column]| {
            let [text, key] = own.columns.map(|column| USERS.of(row, column));
            match tx.savepoint(|tx| tx.execute(own.set, params![id, text, key])) {
                Err(fault) if fault.is_constraint() => Ok(false),
                done => done.map(|_| true),
            }
        };
        let mut homeless = Vec::new();
        for (id, row, was) in renamed {
            if !set(id, row)? {
                said.push(format!("user {}: {} {}`", name(row), own.taken, UserId::from_bytes(*id)));
                homeless.push((id, was));
            }
        }
        // Once all who could have got theirs.
        for (id, was) in homeless {
            set(id, was)?;
        }
    }
    Ok(())
}

/// Ends what ended with what was carried over: terms of who is switched off or elsewhere, assignments of
/// devices that are refused.
fn end(tx: &Tx<'_>) -> Result<()> {
    let terms = "UPDATE user_terms SET until_at = ?1 WHERE until_at IS NULL AND user_id NOT IN (
        SELECT id FROM users WHERE is_active = 1 AND users.role = user_terms.role
            AND users.facility_id IS NOT DISTINCT FROM user_terms.facility_id)";
    let assignments = "UPDATE assignments SET until_at = ?1 WHERE until_at IS NULL AND device_id NOT IN (
        SELECT id FROM devices WHERE state IN ('ACTIVE', 'QUARANTINED'))";
    tx.execute(terms, params![tx.now()])?;
    tx.execute(assignments, params![tx.now()]).map(drop)
}

const fn access(organization: OrganizationId) -> AccessScope {
    AccessScope::Organization(OrganizationScope::of_operator(organization))
}

fn name(row: &[Column]) -> &str {
    if let Some(Value::Text(name)) = row.get(1) { name } else { "without a name" }
}

/// A row's columns, each for the placeholder of its place.
fn placed(row: &[Column]) -> Vec<&dyn ToValue> {
    row.iter().map(|value| value as &dyn ToValue).collect()
}

fn blob(value: Option<&Column>) -> &[u8] {
    if let Some(Value::Blob(bytes)) = value { bytes } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Table; 8] = [ADMINS, SIGN_INS, FACILITIES, USERS, TERMS, BADGES, DEVICES, ASSIGNMENTS];

    /// What says nothing of who may do what, or is forgotten whole: who was signed in, and who waited.
    const LEFT: [&str; 18] = [
        "organizations",
        "sessions",
        "workflows",
        "patients",
        "enrollments",
        "feeds",
        "documents",
        "archive",
        "marks",
        "reviews",
        "digests",
        "incarnations",
        "chain_heads",
        "gaps",
        "idempotency_keys",
        "changes",
        "office_corrections",
        "audit",
    ];

    #[test]
    fn every_table_is_carried_over_or_left_on_purpose() {
        for name in crate::store::engine::tables() {
            let is_carried = ALL.iter().any(|table| {
                let from = table.list.select.rsplit(' ').next().unwrap_or_default();
                from.strip_prefix("system_").unwrap_or(from) == name
            });
            assert_ne!(is_carried, LEFT.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_is_told_is_read() {
        for table in ALL {
            for (column, _) in table.told {
                assert!(table.place(column).is_some(), "{}: {column}", table.word);
            }
        }
    }
}
