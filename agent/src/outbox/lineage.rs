//! The lineage: the incarnations of an outbox. Numbers go on through a fork, so that an entry's incarnation is found by
//! its number.

use carepost_protocol::change::{Lane, Link};
use carepost_protocol::id::{DeviceId, IncarnationId};
use carepost_protocol::wire::push::Fork;
use rusqlite::{Connection, OptionalExtension, params};

use super::{OutboxError, schema, signed, unsigned};

/// One incarnation of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) id: IncarnationId,
    /// What the server is told of its beginning.
    pub(super) parent: Option<Fork>,
    /// The last numbers that are not its own, care first.
    after: [u64; 2],
}

impl Incarnation {
    /// The last number of the lane before its own.
    pub(super) const fn after(&self, lane: Lane) -> u64 {
        let [care, audit] = self.after;
        match lane {
            Lane::Care => care,
            Lane::Audit => audit,
        }
    }
}

/// The incarnations whose entries the file may hold, the current one first.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    incarnations: Vec<Incarnation>,
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
        let incarnations = statement.query_map([], |row| {
            let parent: Option<[u8; 16]> = row.get(1)?;
            let (care, audit): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            Ok(Incarnation {
                id: IncarnationId::from_bytes(row.get(0)?),
                parent: parent.map(|parent| Fork {
                    incarnation: IncarnationId::from_bytes(parent),
                    care: unsigned(care.unwrap_or(0)),
                    audit: unsigned(audit.unwrap_or(0)),
                }),
                after: [unsigned(row.get(4)?), unsigned(row.get(5)?)],
            })
        })?;
        Ok(Self { incarnations: incarnations.collect::<Result<_, _>>()?, device })
    }

    pub(super) fn current(&self) -> Result<&Incarnation, OutboxError> {
        self.incarnations.first().ok_or(OutboxError::NotUnderstood("the incarnation"))
    }

    /// The incarnation that a number belongs to, with the last number of that incarnation in the lane.
    pub(super) fn of(&self, lane: Lane, n: u64) -> Result<(&Incarnation, u64), OutboxError> {
        let mut last = u64::MAX;
        for incarnation in &self.incarnations {
            if n > incarnation.after(lane) {
                return Ok((incarnation, last));
            }
            last = last.min(incarnation.after(lane));
        }
        Err(OutboxError::NotUnderstood("the incarnation of an entry"))
    }

    /// From the current one on, each with its last numbers, care first.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Incarnation, [u64; 2])> {
        self.incarnations.iter().scan([u64::MAX; 2], |last, incarnation| {
            let its = *last;
            *last = [0, 1].map(|lane: usize| {
                let (last, after) = (last.get(lane), incarnation.after.get(lane));
                last.copied().unwrap_or(0).min(after.copied().unwrap_or(0))
            });
            Some((incarnation, its))
        })
    }

    /// The link before an entry; none when it is not kept any more.
    pub(super) fn link_before(
        &self,
        connection: &Connection,
        lane: Lane,
        n: u64,
    ) -> Result<Option<Link>, OutboxError> {
        let (incarnation, _) = self.of(lane, n)?;
        self.link_of(connection, incarnation, lane, n.saturating_sub(1))
    }

    /// The link at a number of an incarnation's chain: 0, or the number it forked at, is where it begins.
    pub(super) fn link_of(
        &self,
        connection: &Connection,
        incarnation: &Incarnation,
        lane: Lane,
        n: u64,
    ) -> Result<Option<Link>, OutboxError> {
        let mut incarnation = *incarnation;
        while n <= incarnation.after(lane) {
            let Some(fork) = incarnation.parent else {
                return Ok(Some(Link::genesis(self.device, incarnation.id, lane)));
            };
            let earlier = self.incarnations.iter().find(|earlier| earlier.id == fork.incarnation);
            incarnation = *earlier.ok_or(OutboxError::NotUnderstood("the parent of an incarnation"))?;
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
