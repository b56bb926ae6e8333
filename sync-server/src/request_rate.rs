//! The request rate: a person may ask so many times in a minute, and as many at once. Devices have their quotas.

use std::num::NonZeroU32;

use carepost_protocol::id::{OrganizationId, UserId};
use carepost_protocol::role::Actor;
use carepost_protocol::wire::problem::ProblemKind;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::{Answer, Refusal};

/// Beyond so many people, those are forgotten whose minute is over.
const MOST: usize = 10_000;

/// Who asked how much of late, by tenant and person; none is the platform's.
#[derive(Debug)]
pub struct RequestRate(DefaultKeyedRateLimiter<(Option<OrganizationId>, UserId)>);

impl RequestRate {
    /// One that lets each ask so often in a minute.
    #[must_use]
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(per_minute)))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// `over-quota`, with when to come again.
    pub fn take(&self, actor: &Actor) -> Answer<()> {
        if self.0.len() > MOST {
            self.0.retain_recent();
        }
        self.0.check_key(&(actor.organization, actor.user)).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let words = "You ask faster than the server's configuration allows (requests_per_minute).";
            Refusal::new(ProblemKind::OverQuota, words).retry_after(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::id::SessionId;
    use carepost_protocol::role::Role;
    use carepost_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn one_who_asks_too_fast_is_told_when_to_come_again_and_holds_up_nobody_else() {
        let actor = |n: u8| Actor {
            user: UserId::new(Timestamp::EPOCH, [n; 10]),
            session: SessionId::new(Timestamp::EPOCH, [n; 10]),
            role: Role::OrgAdmin,
            organization: None,
            facility: None,
        };
        let pace = RequestRate::new(NonZeroU32::MIN.saturating_add(1));
        pace.take(&actor(1)).unwrap();
        pace.take(&actor(1)).unwrap();
        let refused = pace.take(&actor(1)).unwrap_err();
        assert_eq!((refused.kind(), refused.problem().status), (Some(ProblemKind::OverQuota), 429));
        assert!(refused.comes_back_in().is_some_and(|wait| (1..=31).contains(&wait)), "{refused:?}");
        pace.take(&actor(2)).unwrap();
    }
}
