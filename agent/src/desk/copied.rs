//! How the mirror agrees with the server: written down, and shown.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::SteppedOver;
use serde_json::Value;

use super::ward::Ward;
use crate::audit;
use crate::mirror::{Finding, FoundBy, Untold};

impl Ward {
    /// Writes down what the mirror found: that a collection differs from the server's, that it is proven
    /// equal again, or that the file was damaged and made anew. Says whether there was anything. Call it
    /// from a blocking thread whenever the mirror has news.
    pub fn tell_of_mirror(&self) -> bool {
        let findings = self.mirror.untold().unwrap_or_else(|error| {
            tracing::error!(%error, "the mirror does not say what it found");
            Vec::new()
        });
        let mut events: Vec<AuditEvent> = findings.iter().map(|finding| self.mirror_event(finding)).collect();
        if self.mirror.take_set_aside() {
            tracing::error!("the mirror turned out damaged: it was set aside and is pulled afresh");
            let mut event = self.event(AuditEventType::Sync, false, None, None);
            "mirror".clone_into(&mut event.resource_type);
            event.details.insert("reason".to_owned(), "mirror_set_aside".into());
            events.push(event);
        }
        let steps = self.mirror.untold_steps().unwrap_or_else(|error| {
            tracing::error!(%error, "the mirror does not say what it stepped over");
            Vec::new()
        });
        events.extend(steps.iter().map(|step| self.step_event(step)));
        let some = !events.is_empty();
        self.append_audit(events);
        // Written, or waiting in memory to be: either way it is not to be told twice.
        if !findings.is_empty()
            && let Err(error) = self.mirror.told(&findings)
        {
            tracing::error!(%error, "what the mirror found will be told again");
        }
        if !steps.is_empty()
            && let Err(error) = self.mirror.told_steps(&steps)
        {
            tracing::error!(%error, "what the mirror stepped over will be told again");
        }
        some
    }

    fn mirror_event(&self, finding: &Finding) -> AuditEvent {
        let Finding { collection, mended, at: _, found_by, held, expected } = *finding;
        let (reason, found_by) = match (mended, found_by) {
            (true, _) => ("mirror_mended", "server_digest"),
            (false, FoundBy::Server) => ("mirror_differed", "server_digest"),
            (false, FoundBy::Check) => ("mirror_differed", "device_check"),
        };
        if mended {
            tracing::info!(collection = collection.name(), "the mirror is equal to the server's feed again");
        } else {
            tracing::error!(
                collection = collection.name(),
                found_by,
                held,
                expected,
                "the mirror differs from the server's feed: that collection is fetched again"
            );
        }
        let details = [
            ("reason", reason.into()),
            ("found_by", found_by.into()),
            ("held", held.into()),
            ("expected", expected.into()),
        ];
        self.collection_event(mended, collection.name(), details)
    }

    fn step_event(&self, step: &Untold) -> AuditEvent {
        let Untold { what: SteppedOver { collection, reason, count }, first_seq, most_bytes } = step;
        let why = reason.name();
        tracing::error!(
            collection,
            why,
            count,
            first_seq,
            most_bytes,
            "documents of the server cannot be taken: stepped over, and what comes after them is taken"
        );
        let details = [
            ("reason", "documents_stepped_over".into()),
            ("why", why.into()),
            ("count", (*count).into()),
            ("first_seq", (*first_seq).into()),
            ("most_bytes", (*most_bytes).into()),
        ];
        self.collection_event(false, collection, details)
    }

    fn collection_event<const N: usize>(
        &self,
        success: bool,
        collection: &str,
        details: [(&str, Value); N],
    ) -> AuditEvent {
        let event =
            audit::event(&self.clock, &self.grant, AuditEventType::Sync, AuditAction::Execute, "collection");
        let event = AuditEvent { success, ..event.on(collection) };
        details.into_iter().fold(event, |event, (key, value)| event.detail(key, value))
    }

    /// The documents that could not be taken, by collection and reason.
    pub(super) fn stepped_over(&self) -> Vec<SteppedOver> {
        self.mirror.stepped_over().unwrap_or_default()
    }

    /// The collections whose copy differs from the server's.
    pub(super) fn differing(&self) -> Vec<Collection> {
        let differing = self.mirror.differing().unwrap_or_default();
        differing.into_iter().map(|differing| differing.collection).collect()
    }
}
