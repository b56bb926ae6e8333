//! SQLite, encrypted by SQLCipher: one file, its connections, its row security and its migrations.

mod connection;
mod copy;
mod error;
mod migrate;
mod row;
mod security;

#[cfg(test)]
pub(in crate::store) use connection::without_walls;
pub(super) use connection::{Connection, Purpose, Source};
pub(in crate::store) use copy::{copy, settle};
pub(in crate::store) use row::Row;
