//! A device's outbox, as a test plays it: it can be copied, put back, torn and forked.

use carepost_protocol::wire::push::{Fork, Gap, Opaque};

use super::*;

/// One lane of a kiosk: every entry it ever made, and the link at each number.
#[derive(Clone)]
pub(super) struct Book {
    pub(super) lane: Lane,
    pub(super) incarnation: IncarnationId,
    pub(super) parent: Option<Fork>,
    /// The link at a number: the first is at the fork, or at 0.
    links: Vec<(u64, Link)>,
    payloads: Vec<(u64, Box<RawValue>)>,
}

/// A kiosk, and what it has charted and pushed.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) tenant: Tenant,
    pub(super) kiosk: Kiosk,
    pub(super) book: Book,
}

impl Scene {
    /// One of these pulses.
    pub(super) async fn of(pulses: &[u32]) -> Self {
        let world = World::new();
        let tenant = world.tenant("alpha").await;
        let kiosk = world.kiosk(&tenant, 1).await;
        let mut book = Book::new(&kiosk, Lane::Care);
        book.chart(&world, &kiosk, &tenant, pulses);
        book.push(&world, &kiosk, 1..=book.last()).await.unwrap();
        Self { world, tenant, kiosk, book }
    }
}

/// What goes with a batch besides its changes.
#[derive(Default)]
pub(super) struct With {
    pub(super) gap: Option<Gap>,
    pub(super) opaque: Option<Opaque>,
}

impl Book {
    pub(super) fn new(kiosk: &Kiosk, lane: Lane) -> Self {
        let genesis = Link::genesis(kiosk.identity.device(), kiosk.incarnation, lane);
        Self {
            lane,
            incarnation: kiosk.incarnation,
            parent: None,
            links: vec![(0, genesis)],
            payloads: vec![],
        }
    }

    /// Goes on under another incarnation, from a number of this one.
    pub(super) fn forked(&self, seed: u8, care: u64, audit: u64) -> Self {
        let shared = if self.lane == Lane::Care { care } else { audit };
        Self {
            lane: self.lane,
            incarnation: IncarnationId::new(Timestamp::from_millis(START), [seed; 10]),
            parent: Some(Fork { incarnation: self.incarnation, care, audit }),
            links: vec![(shared, self.link(shared))],
            payloads: vec![],
        }
    }

    pub(super) fn link(&self, n: u64) -> Link {
        self.links.iter().find(|(at, _)| *at == n).unwrap().1
    }

    pub(super) fn last(&self) -> u64 {
        self.links.last().unwrap().0
    }

    pub(super) fn write<T: serde::Serialize>(&mut self, entry: &T) -> u64 {
        let payload = serde_json::value::to_raw_value(entry).unwrap();
        let n = self.last() + 1;
        let link = self.link(n - 1).next(n, &PayloadHash::of(payload.get().as_bytes()));
        self.links.push((n, link));
        self.payloads.push((n, payload));
        n
    }

    /// Charts pulses, one a second.
    pub(super) fn chart(&mut self, world: &World, kiosk: &Kiosk, tenant: &Tenant, pulses: &[u32]) {
        for pulse in pulses {
            world.pass(1);
            self.write(&kiosk.vitals(tenant, *pulse, world.now()));
        }
    }

    pub(super) async fn push(
        &self,
        world: &World,
        kiosk: &Kiosk,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<PushReceipt, StoreError> {
        self.push_with(world, kiosk, range, With::default()).await
    }

    pub(super) async fn push_with(
        &self,
        world: &World,
        kiosk: &Kiosk,
        range: std::ops::RangeInclusive<u64>,
        with: With,
    ) -> Result<PushReceipt, StoreError> {
        let opaque = with.opaque.is_some();
        let changes: Vec<&RawValue> =
            self.payloads.iter().filter(|(n, _)| range.contains(n)).map(|(_, it)| &**it).collect();
        let head = self.link(*range.end());
        let batch = PushBatch {
            lane: self.lane,
            incarnation: self.incarnation,
            parent: self.parent,
            first_n: *range.start(),
            previous: self.link(range.start() - 1),
            head,
            signature: kiosk.sign(&head),
            changes: if opaque { Vec::new() } else { changes },
            gap: with.gap,
            opaque: with.opaque,
        };
        let scope = kiosk.identity.scope().unwrap();
        let batch = Batch::check(&kiosk.identity, None, &batch)?;
        world.store.facility(&scope).push(batch, &mut 0).await
    }

    /// Asks where the server is, with an empty batch.
    pub(super) async fn probe(&self, world: &World, kiosk: &Kiosk) -> Result<PushReceipt, StoreError> {
        let next = self.last() + 1;
        #[allow(clippy::reversed_empty_ranges)] // An empty batch begins after its end.
        self.push(world, kiosk, next..=self.last()).await
    }

    pub(super) fn payload(&self, n: u64) -> &str {
        self.payloads.iter().find(|(at, _)| *at == n).unwrap().1.get()
    }
}

impl Kiosk {
    fn sign(&self, head: &Link) -> String {
        let signature = self.key.sign(&ring::rand::SystemRandom::new(), head.as_bytes()).unwrap();
        hex(signature.as_ref())
    }
}

/// What the server noticed by itself, by what it calls it.
pub(super) async fn noticed(world: &World, tenant: &Tenant, what: &str) -> Vec<serde_json::Value> {
    let query = AuditQuery { limit: 1_000, ..AuditQuery::default() };
    let events = world.store.organization(&tenant.organization).audit_events(query).await;
    let details =
        events.unwrap().items.into_iter().map(|event| serde_json::Value::Object(event.event.details));
    details.filter(|details| details["what"] == what).collect()
}

pub(super) async fn pulses(world: &World, tenant: &Tenant) -> Vec<u64> {
    let facility = world.store.facility(&tenant.facility);
    let records = facility.records(&may_read(tenant), tenant.patient, None, 1_000).await.unwrap().items;
    let mut pulses: Vec<_> = records.iter().map(|record| record.values["pulse"].as_u64().unwrap()).collect();
    pulses.sort_unstable();
    pulses
}
