//! The charge of a push: what it costs its device's quota. It is reserved before the push is taken, and settled when
//! it is done.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use carepost_protocol::id::DeviceId;
use carepost_protocol::time::Timestamp;

use super::{Allowances, MADE_BY_ONE, Quotas, Usage, sent_too_much};
use crate::error::{Answer, too_large};

/// What a push is charged: at its end, or when this is dropped, whatever that was by. What it was given and did
/// not use is given back then.
#[derive(Debug)]
pub struct Charge {
    quotas: Arc<Quotas>,
    device: DeviceId,
    allowances: Allowances,
    /// What it was given of the documents before it was taken.
    reserved: u64,
    pub changes: u64,
    /// The documents that it made.
    pub documents: u64,
}

impl Quotas {
    /// What a device's push is going to be charged: nothing yet.
    #[must_use]
    pub fn charge(self: &Arc<Self>, device: DeviceId, allowances: Allowances) -> Charge {
        Charge { quotas: Arc::clone(self), device, allowances, reserved: 0, changes: 0, documents: 0 }
    }
}

impl Charge {
    /// Gives the device room for what so many changes of care may make, before they are taken.
    ///
    /// # Errors
    /// `over-quota`, with when it may; `too-large` for what could never be had at once.
    pub fn reserve(&mut self, changes: u64, now: Instant) -> Answer<()> {
        let (most, of) = (changes.saturating_mul(MADE_BY_ONE), self.allowances.documents);
        if most > of.at_once {
            return Err(too_large());
        }
        let mut devices = self.quotas.devices();
        let usage = devices.entry(self.device).or_insert_with(Usage::new);
        usage.settle(self.allowances, now);
        if let Some(wait) = usage.documents.wait(most, of) {
            return Err(sent_too_much(&format!("{} entries", of.per_hour), wait));
        }
        usage.documents.take(most);
        self.reserved += most;
        Ok(())
    }

    /// The push has ended. True when by that its device begins to send unusually much: more than its allowance of
    /// an hour, at once.
    pub fn settle(mut self, (now, time): (Instant, Timestamp)) -> bool {
        self.pay(now, Some(time))
    }

    /// Without a time, it is left to the next push to tell that the device sends unusually much.
    fn pay(&mut self, now: Instant, time: Option<Timestamp>) -> bool {
        let mut devices = self.quotas.devices();
        let Some(usage) = devices.get_mut(&self.device) else { return false };
        usage.settle(self.allowances, now);
        usage.changes.take(mem::take(&mut self.changes));
        usage.documents.give_back(mem::take(&mut self.reserved));
        usage.documents.take(mem::take(&mut self.documents));
        let of = self.allowances;
        let is_unusual = usage.changes.is_unusual(of.changes) || usage.documents.is_unusual(of.documents);
        let Some(time) = time.filter(|_| is_unusual) else { return false };
        usage.unusual.replace(usage.unusual.unwrap_or(time)).is_none()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if [self.changes, self.reserved, self.documents] != [0; 3] {
            self.pay(Instant::now(), None);
        }
    }
}

#[cfg(test)]
impl Quotas {
    /// What a device was charged that no hour has covered yet: changes, and documents.
    pub fn charged(&self, device: DeviceId) -> (u64, u64) {
        let devices = self.devices();
        let of = |meter: super::Meter| meter.0.div_ceil(super::HOUR);
        devices.get(&device).map_or((0, 0), |usage| (of(usage.changes), of(usage.documents)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carepost_protocol::wire::problem::ProblemKind;

    use super::super::{Allowance, Kind};
    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceId::new(Timestamp::EPOCH, [n; 10])
    }

    const FEW: Allowances = Allowances {
        changes: Allowance { per_hour: 1_000, at_once: 10_000 },
        documents: Allowance { per_hour: 60, at_once: 400 },
    };

    #[tokio::test]
    async fn who_sends_unusually_much_is_told_once_and_then_slowed_to_the_allowance() {
        let quotas = Arc::new(Quotas::default());
        let _turn = quotas.turn(device(1), Kind::Push).await.unwrap();
        let began = Instant::now();
        let at = |minutes: u64| began + Duration::from_secs(minutes * 60);
        let send = |changes, minutes| {
            let mut charge = quotas.charge(device(1), FEW);
            charge.changes = changes;
            charge.settle((at(minutes), Timestamp::from_millis(7)))
        };
        assert!(!send(1_000, 0), "an hour's allowance is nothing unusual");
        assert!(!send(500, 30), "nor is going on so");
        assert!(send(600, 30) && !send(600, 30), "that is, and it is told once");
        assert_eq!(quotas.unusual_since(device(1)), Some(Timestamp::from_millis(7)));
        quotas.may_send(device(1), FEW, at(30)).unwrap();
        send(9_000, 30);
        let refused = quotas.may_send(device(1), FEW, at(30)).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::OverQuota));
        quotas.may_send(device(1), FEW, at(110)).expect("it goes on as the allowance covers what it sent");
        quotas.may_send(device(1), FEW, at(30 + 12 * 60)).unwrap();
        assert_eq!(quotas.unusual_since(device(1)), None);
        assert!(send(1_001, 30 + 12 * 60), "the next time is told again");
    }

    #[tokio::test]
    async fn what_makes_documents_is_given_room_before_it_is_taken() {
        let quotas = Arc::new(Quotas::default());
        let _turn = quotas.turn(device(1), Kind::Push).await.unwrap();
        let began = Instant::now();
        let at = |minutes: u64| began + Duration::from_secs(minutes * 60);
        let reserve = |changes, minutes| {
            let mut charge = quotas.charge(device(1), FEW);
            charge.reserve(changes, at(minutes)).map(|()| charge)
        };
        let made = |mut charge: Charge, documents, minutes| {
            charge.documents = documents;
            charge.settle((at(minutes), Timestamp::from_millis(7)))
        };
        assert_eq!(reserve(201, 0).unwrap_err().kind(), Some(ProblemKind::TooLarge), "send fewer at once");
        let first = reserve(200, 0).unwrap();
        assert_eq!(reserve(1, 0).unwrap_err().kind(), Some(ProblemKind::OverQuota), "two side by side");
        assert!(!made(first, 50, 0), "what was not made is given back");
        assert!(made(reserve(100, 0).unwrap(), 150, 0), "three hours at once are unusual");
        assert!(!made(reserve(100, 0).unwrap(), 200, 0), "and told once");
        assert!(reserve(1, 0).is_err() && reserve(1, 1).is_err());
        assert!(reserve(1, 2).is_ok(), "then as each hour allows");
        quotas.may_send(device(1), FEW, at(2)).expect("what makes no documents is not slowed by it");
    }
}
