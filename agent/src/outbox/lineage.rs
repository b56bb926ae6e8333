//! The lineage: the lives of an outbox. Numbers go on through a fork, so that an entry's life is found by its number.

use carepost_protocol::change::{Lane, Link};
use carepost_protocol::id::{DeviceId, IncarnationId};
use carepost_protocol::wire::push::Fork;
use rusqlite::{Connection, OptionalExtension, params};

use super::{OutboxError, schema, signed, unsigned};

/// One life of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) id: IncarnationId,
    /// What the server is told of its beginning.
    pub(super) parent: Option<Fork>,
    /// The last numbers that are not its own, care first.
    after: [u64; 2],
}

impl Life {
    /// The last number of the lane before its own.
    pub(super) const fn after(&self, lane: Lane) -> u64 {
        let [care, audit] = self.after;
        match lane {
            Lane::Care => care,
            Lane::Audit => audit,
        }
    }
}

/// The lives whose entries the file may hold, the current one first.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    lives: Vec<Life>,
    device: DeviceId,
}

impl Lineage {
    pub(super) fn read(connection: &Connection, device: DeviceId) -> Result<Self, OutboxError> {
        let mut statement = connection.prepare_cached(
            "WITH RECURSIVE line AS (
                 SELECT 0 AS depth, * FROM incarnations WHERE is_current
                 UNION ALL
                 SELECT depth + 1, earlier.* FROM line JOIN incarnations earlier ON earlier.id = line.follows)
             SELECT id, parent, fork_care, fork_audit, after_care, after_audit FROM line ORDER BY depth",
        )?;
        let lives = statement.query_map([], |row| {
            let parent: Option<[u8; 16]> = row.get(1)?;
            let (care, audit): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            Ok(Life {
                id: IncarnationId::from_bytes(row.get(0)?),
                parent: parent.map(|parent| Fork {
                    incarnation: IncarnationId::from_bytes(parent),
                    care: unsigned(care.unwrap_or(0)),
                    audit: unsigned(audit.unwrap_or(0)),
                }),
                after: [unsigned(row.get(4)?), unsigned(row.get(5)?)],
            })
        })?;
        Ok(Self { lives: lives.collect::<Result<_, _>>()?, device })
    }

    pub(super) fn current(&self) -> Result<&Life, OutboxError> {
        self.lives.first().ok_or(OutboxError::NotUnderstood("the incarnation"))
    }

    /// The life that a number belongs to, with the last number of that life in the lane.
    pub(super) fn of(&self, lane: Lane, n: u64) -> Result<(&Life, u64), OutboxError> {
        let mut last = u64::MAX;
        for life in &self.lives {
            if n > life.after(lane) {
                return Ok((life, last));
            }
            last = last.min(life.after(lane));
        }
        Err(OutboxError::NotUnderstood("the incarnation of an entry"))
    }

    /// From the current one on, each with its last numbers, care first.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Life, [u64; 2])> {
        self.lives.iter().scan([u64::MAX; 2], |last, life| {
            let its = *last;
            *last = [0, 1].map(|lane: usize| {
                let (last, after) = (last.get(lane), life.after.get(lane));
                last.copied().unwrap_or(0).min(after.copied().unwrap_or(0))
            });
            Some((life, its))
        })
    }

    /// The link before an entry; none when it is not kept any more.
    pub(super) fn link_before(
        &self,
        connection: &Connection,
        lane: Lane,
        n: u64,
    ) -> Result<Option<Link>, OutboxError> {
        let (life, _) = self.of(lane, n)?;
        self.link_of(connection, life, lane, n.saturating_sub(1))
    }

    /// The link at a number of a life's chain: 0, or the number it forked at, is where it begins.
    pub(super) fn link_of(
        &self,
        connection: &Connection,
        life: &Life,
        lane: Lane,
        n: u64,
    ) -> Result<Option<Link>, OutboxError> {
        let mut life = *life;
        while n <= life.after(lane) {
            let Some(fork) = life.parent else {
                return Ok(Some(Link::genesis(self.device, life.id, lane)));
            };
            let earlier = self.lives.iter().find(|earlier| earlier.id == fork.incarnation);
            life = *earlier.ok_or(OutboxError::NotUnderstood("the parent of an incarnation"))?;
        }
        stored_link(connection, lane, n)
    }
}

/// The link of an entry, also when only that was kept of it.
fn stored_link(connection: &Connection, lane: Lane, n: u64) -> Result<Option<Link>, OutboxError> {
    let link = connection
        .prepare_cached(
            "SELECT link FROM entries WHERE lane = ?1 AND n = ?2
             UNION ALL SELECT link FROM links WHERE lane = ?1 AND n = ?2 LIMIT 1",
        )?
        .query_row(params![schema::number(lane), signed(n)], |row| row.get(0))
        .optional()?;
    Ok(link.map(Link::from_bytes))
}
