//! What the machine itself costs: the same rows in bare SQLCipher.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, params};

/// A bare encrypted database with one table.
pub(crate) fn bare(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA key = \"x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'\";
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY;
         CREATE TABLE IF NOT EXISTS rows (id BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;",
    )?;
    Ok(connection)
}

/// All bodies in batches of a thousand.
pub(crate) fn batches(connection: &mut Connection, bodies: &[Vec<u8>]) -> Result<Duration> {
    let started = Instant::now();
    for (batch, bodies) in bodies.chunks(1000).enumerate() {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO rows VALUES (?1, ?2)")?;
            for (at, body) in bodies.iter().enumerate() {
                insert.execute(params![id(batch * 1000 + at), body])?;
            }
        }
        transaction.commit()?;
    }
    Ok(started.elapsed())
}

/// One row in a durable commit of its own.
pub(crate) fn one(connection: &Connection, at: usize, body: &[u8]) -> Result<Duration> {
    let started = Instant::now();
    connection.prepare_cached("INSERT INTO rows VALUES (?1, ?2)")?.execute(params![id(at), body])?;
    Ok(started.elapsed())
}

/// Sixteen bytes, in order, as UUIDv7s made one after another are.
fn id(at: usize) -> [u8; 16] {
    let mut id = [0x5a; 16];
    for (to, from) in id.iter_mut().zip((at as u64).to_be_bytes()) {
        *to = from;
    }
    id
}
