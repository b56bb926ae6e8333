//! Row security in SQLite.
//!
//! SQLite has none of its own, so each connection is given it. Base tables (`base_*`) are reached only
//! through views that filter by the connection's current scope and through triggers that write within
//! it; an authorizer refuses everything else when a statement is prepared: base tables, the schema
//! tables, ATTACH, DROP, CREATE, PRAGMA, and functions that are not on the list.
//!
//! The authorizer is told only the *name* of the view or trigger on whose behalf a table is read, and
//! a CTE may take any name. So the views and triggers that may touch base tables have random names,
//! new in each connection, and the public views stand in front of them; the names cannot be read,
//! because the schema tables are refused.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::store::engine::tables::Write::{self, Delete, Insert, Update};
use crate::store::engine::tables::{AccessScope, Owner, TABLES, Table};
use crate::store::{Ambient, StoreError};

/// The access scope of one connection, shared with its SQL functions.
#[derive(Debug, Clone)]
pub(super) struct AccessCell(Arc<Mutex<AccessScope>>);

impl AccessCell {
    pub(super) fn nothing() -> Self {
        Self(Arc::new(Mutex::new(AccessScope::Nothing)))
    }

    pub(super) fn get(&self) -> AccessScope {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, access: AccessScope) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = access;
    }
}

/// The functions that statements may call.
const FUNCTIONS: &[&str] = &[
    "scope_organization",
    "scope_facility",
    "scope_limit",
    "scope_system",
    "count",
    "coalesce",
    "max",
    "min",
    "length",
    "sum",
    "substr",
    "row_number",
];

/// Gives a fresh connection its views and triggers, bound to `access`. They protect nothing until
/// [`guard`] is called with the names it gives.
pub(super) fn build(
    connection: &Connection,
    ambient: &Ambient,
    access: &AccessCell,
) -> Result<OwnNames, StoreError> {
    scope_functions(connection, access)?;
    let mut names = Names { ambient, own: OwnNames::default() };
    for Table(name, owner, writes, system) in TABLES {
        let columns = columns(connection, name)?;
        if *owner != Owner::Nobody {
            let view =
                View { table: name, public: (*name).to_owned(), owner: Some(*owner), columns: &columns };
            view.create(connection, &mut names, writes)?;
        }
        if let Some(writes) = system {
            let view = View { table: name, public: format!("system_{name}"), owner: None, columns: &columns };
            view.create(connection, &mut names, writes)?;
        }
    }
    Ok(names.own)
}

/// Refuses, from now on, everything but the public views. It cannot be undone from SQL.
pub(super) fn guard(connection: &mut Connection, own: OwnNames) -> Result<(), StoreError> {
    connection.authorizer(Some(move |context: AuthContext<'_>| own.authorize(&context)))?;
    Ok(())
}

/// The names of a connection's own views and triggers.
#[derive(Default)]
pub(super) struct OwnNames {
    accessors: HashSet<String>,
    public: HashSet<String>,
}

impl OwnNames {
    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let through = context.accessor.is_some_and(|name| self.accessors.contains(name));
        let open = |table: &str| self.public.contains(table) || self.accessors.contains(table);
        let allowed = if let AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } = context.action
        {
            open(table_name) || (through && is_base(table_name))
        } else if let AuthAction::Function { function_name } = context.action {
            FUNCTIONS.contains(&function_name.to_ascii_lowercase().as_str())
        } else {
            matches!(
                context.action,
                AuthAction::Select | AuthAction::Transaction { .. } | AuthAction::Savepoint { .. }
            )
        };
        if allowed { Authorization::Allow } else { Authorization::Deny }
    }
}

fn is_base(table: &str) -> bool {
    TABLES.iter().any(|Table(name, ..)| table.strip_prefix("base_") == Some(name))
}

/// Random names for what may touch base tables, and the public names in front of them.
struct Names<'a> {
    ambient: &'a Ambient,
    own: OwnNames,
}

impl Names<'_> {
    fn draw(&mut self) -> Result<String, StoreError> {
        let random: [u8; 16] = self.ambient.random()?;
        let name = format!("inner_{:032x}", u128::from_be_bytes(random));
        self.own.accessors.insert(name.clone());
        Ok(name)
    }
}

/// One public view of a base table; without an owner it is the system's.
struct View<'a> {
    table: &'static str,
    public: String,
    owner: Option<Owner>,
    columns: &'a [Column],
}

struct Column {
    name: String,
    in_key: bool,
    /// As the table's definition writes it.
    default: Option<String>,
}

impl View<'_> {
    fn create(
        &self,
        connection: &Connection,
        names: &mut Names<'_>,
        writes: &[Write],
    ) -> Result<(), StoreError> {
        let (table, public, inner) = (self.table, &self.public, names.draw()?);
        let filter = self.filter();
        let listed = self.list(|column| column.name.clone());
        connection.execute_batch(&format!(
            "CREATE TEMP VIEW {inner} AS SELECT {listed} FROM main.base_{table} WHERE {filter};
             CREATE TEMP VIEW {public} AS SELECT {listed} FROM {inner};"
        ))?;
        names.own.public.insert(public.clone());
        for write in writes {
            let trigger = names.draw()?;
            let (event, guard, body) = match write {
                Insert => ("INSERT", self.guard(), self.insert()),
                Update => ("UPDATE", self.guard(), self.update()),
                Delete => {
                    ("DELETE", String::new(), format!("DELETE FROM base_{table} WHERE {};", self.key()))
                }
            };
            connection.execute_batch(&format!(
                "CREATE TEMP TRIGGER {trigger} INSTEAD OF {event} ON {public} BEGIN {guard} {body} END;"
            ))?;
        }
        Ok(())
    }

    fn filter(&self) -> &'static str {
        match self.owner {
            Some(Owner::Organization) => "id = scope_organization()",
            Some(Owner::Tenant) => "organization_id = scope_organization()",
            Some(Owner::Registry) => match self.table {
                "facilities" => {
                    "organization_id = scope_organization() AND (scope_limit() IS NULL OR id = scope_limit())"
                }
                _ => {
                    "organization_id = scope_organization() \
                     AND (scope_limit() IS NULL OR facility_id = scope_limit())"
                }
            },
            Some(Owner::Facility) => {
                "facility_id = scope_facility() AND organization_id = scope_organization()"
            }
            Some(Owner::Nobody) => "0",
            // Every table that the system has a view of has an id. SQLite asks the authorizer once more for
            // a table none of whose columns are used (`SELECT count(*)`), and forgets on whose behalf; so
            // a column is used, in a condition that is always true and that SQLite cannot fold away.
            None => "scope_system() AND length(id) = 16",
        }
    }

    /// What a row must be before it is written: a scope's own tenant is put in by the trigger, but
    /// which facility of the organization is the writer's to say, within the scope's limit.
    fn guard(&self) -> String {
        let refused = match self.owner {
            None => "NOT scope_system()",
            Some(Owner::Registry) if self.table == "facilities" => {
                "scope_limit() IS NOT NULL AND NEW.id IS NOT scope_limit()"
            }
            Some(Owner::Registry) => "scope_limit() IS NOT NULL AND NEW.facility_id IS NOT scope_limit()",
            Some(Owner::Organization | Owner::Tenant | Owner::Facility | Owner::Nobody) => {
                return String::new();
            }
        };
        format!("SELECT RAISE(ABORT, 'outside the scope') WHERE {refused};")
    }

    fn insert(&self) -> String {
        let values = self.list(|column| match (self.owner, column.name.as_str(), &column.default) {
            (Some(_), "organization_id", _) => "scope_organization()".to_owned(),
            (Some(Owner::Facility), "facility_id", _) => "scope_facility()".to_owned(),
            // What an insert into a view leaves out comes as NULL, not as the table's default.
            (_, name, Some(default)) => format!("coalesce(NEW.{name}, {default})"),
            (_, name, None) => format!("NEW.{name}"),
        });
        format!(
            "INSERT INTO base_{} ({}) VALUES ({values});",
            self.table,
            self.list(|column| column.name.clone())
        )
    }

    fn update(&self) -> String {
        let set = self.columns.iter().filter(|column| !column.in_key && !self.is_tenant(&column.name));
        let set = set.map(|column| format!("{0} = NEW.{0}", column.name)).collect::<Vec<_>>().join(", ");
        format!("UPDATE base_{} SET {set} WHERE {};", self.table, self.key())
    }

    /// Whether a column is the scope's to fill, never an update's. The system moves rows of the lobby
    /// into a tenant.
    fn is_tenant(&self, name: &str) -> bool {
        match self.owner {
            None => false,
            Some(Owner::Facility) => matches!(name, "organization_id" | "facility_id"),
            Some(_) => name == "organization_id",
        }
    }

    fn key(&self) -> String {
        let key = self.columns.iter().filter(|column| column.in_key);
        key.map(|column| format!("{0} = OLD.{0}", column.name)).collect::<Vec<_>>().join(" AND ")
    }

    fn list(&self, write: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(write).collect::<Vec<_>>().join(", ")
    }
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>, StoreError> {
    let mut statement =
        connection.prepare("SELECT name, pk, dflt_value FROM pragma_table_info('base_' || ?1)")?;
    let columns = statement.query_map([table], |row| {
        Ok(Column { name: row.get(0)?, in_key: row.get::<_, i64>(1)? > 0, default: row.get(2)? })
    })?;
    Ok(columns.collect::<Result<_, _>>()?)
}

fn scope_functions(connection: &Connection, access: &AccessCell) -> Result<(), StoreError> {
    // The access scope changes between statements, never within one, which is all that SQLite makes of
    // "deterministic": it calls the function once for each run of a statement.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let cell = access.clone();
    connection.create_scalar_function("scope_organization", 0, flags, move |_| {
        Ok(match cell.get() {
            AccessScope::Facility(scope) => Some(scope.organization().as_bytes().to_vec()),
            AccessScope::Organization(scope) => Some(scope.organization().as_bytes().to_vec()),
            AccessScope::Nothing | AccessScope::System(_) => None,
        })
    })?;
    let cell = access.clone();
    connection.create_scalar_function("scope_facility", 0, flags, move |_| {
        Ok(match cell.get() {
            AccessScope::Facility(scope) => Some(scope.facility().as_bytes().to_vec()),
            AccessScope::Organization(_) | AccessScope::Nothing | AccessScope::System(_) => None,
        })
    })?;
    let cell = access.clone();
    connection.create_scalar_function("scope_limit", 0, flags, move |_| {
        Ok(match cell.get() {
            AccessScope::Facility(scope) => Some(scope.facility().as_bytes().to_vec()),
            AccessScope::Organization(scope) => scope.limit().map(|limit| limit.as_bytes().to_vec()),
            AccessScope::Nothing | AccessScope::System(_) => None,
        })
    })?;
    let cell = access.clone();
    connection.create_scalar_function("scope_system", 0, flags, move |_| {
        Ok(matches!(cell.get(), AccessScope::System(_)))
    })?;
    Ok(())
}
