//! The sync's status: what the kiosk is told of it, and of what the server hears soon.

use std::time::Duration;

use carepost_agent_core::sync::{Engine, Hold};
use carepost_protocol::change::Lane;
use carepost_protocol::id::UserId;
use carepost_protocol::wire::heartbeat::ReaderState;
use carepost_protocol::wire::pull::PageEnd;
use tokio::sync::watch;

use crate::mirror::RESERVE_MIB;
use crate::run::shared::Shared;
use crate::workspace::view::{CopyTrouble, Sending, SyncView};

/// See the module.
pub(super) struct Status {
    shared: Shared,
    /// What the kiosk was told last.
    view: SyncView,
    /// How many entries need a person.
    rejected: u64,
    told: Told,
    /// What was wrong when the server was last told soon: that it is held, stands still, or copies nothing.
    ill: (Option<Hold>, bool, bool),
    /// Since when nothing has moved, if that is long ago.
    still_since: watch::Sender<Option<Duration>>,
}

/// What the server hears soon when it is another.
#[derive(PartialEq, Eq)]
struct Told {
    reader: ReaderState,
    active_user: Option<UserId>,
    unknown_tap_at: Option<Duration>,
    trouble: Option<String>,
}

impl Told {
    fn of(Shared { device, workspace, .. }: &Shared) -> Self {
        Self {
            reader: device.reader(),
            active_user: workspace.active_user(),
            unknown_tap_at: workspace.unknown_tap_at(),
            trouble: workspace.audit_trail().any_trouble(),
        }
    }
}

impl Status {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            told: Told::of(&shared),
            shared,
            view: SyncView::default(),
            rejected: 0,
            ill: Default::default(),
            still_since: watch::Sender::new(None),
        }
    }

    /// For the heartbeat: since when nothing has moved, if that is long ago.
    pub(super) fn still_since(&self) -> watch::Receiver<Option<Duration>> {
        self.still_since.subscribe()
    }

    /// So many entries need a person already.
    pub(super) const fn begin(&mut self, rejected: u64) {
        self.rejected = rejected;
    }

    /// So many entries need a person now.
    pub(super) fn rejected(&mut self, rejected: u64) {
        if rejected > self.rejected {
            tracing::warn!(rejected, "the server rejected entries: they wait for a person");
        }
        if std::mem::replace(&mut self.rejected, rejected) != rejected {
            self.shared.news.notify_one();
        }
    }

    /// Whether who is signed in, the reader or what cannot be saved is news.
    pub(super) fn look(&mut self) {
        let now = Told::of(&self.shared);
        if self.told != now {
            self.told = now;
            self.shared.news.notify_one();
        }
    }

    pub(super) const fn sending(&mut self, sending: Option<Sending>) {
        self.view.sending = sending;
    }

    /// A page was applied.
    pub(super) fn copied(&mut self, end: &PageEnd) {
        self.view.loaded = SyncView::loaded(end.cursor.seq, end.head);
        self.view.copy = None;
    }

    pub(super) fn copy_refused(&mut self, why: String) {
        self.view.copy = Some(CopyTrouble::Refused(why));
    }

    pub(super) fn copy_not_refused(&mut self) {
        self.view.copy.take_if(|trouble| matches!(trouble, CopyTrouble::Refused(_)));
    }

    pub(super) fn copy_has_no_room(&mut self) {
        self.view.copy = Some(CopyTrouble::NoRoom);
    }

    /// Tells the kiosk how the sync is, and the server soon when that is news.
    pub(super) fn show(&mut self, engine: &Engine) {
        let now = self.shared.clock().monotonic();
        let still = engine.no_progress(now);
        self.still_since.send_replace(still.map(|still| now.saturating_sub(still)));
        let stuck = Lane::ALL.into_iter().filter(|lane| engine.stuck(*lane).is_some()).count();
        self.view.stuck = u64::try_from(stuck).unwrap_or(u64::MAX);
        self.view.held = engine.held();
        self.view.distrust = self.shared.upstream.distrust();
        self.view.slowed = engine.slowed();
        // In whole minutes: the page is not drawn again for each second.
        self.view.still = still.map(|still| Duration::from_secs(still.as_secs() / 60 * 60));
        let has_room = || self.shared.workspace.mirror().free_mib() >= RESERVE_MIB;
        self.view.copy.take_if(|trouble| matches!(trouble, CopyTrouble::NoRoom) && has_room());
        self.shared.device.set_sync(self.view.clone());
        let ill = (self.view.held, self.view.still.is_some(), self.view.copy.is_some());
        if std::mem::replace(&mut self.ill, ill) != ill {
            tracing::warn!(
                held = ?self.view.held,
                stands_still = self.view.still.is_some(),
                copy = self.view.copy.as_ref().map(CopyTrouble::words),
                "the sync"
            );
            self.shared.news.notify_one();
        }
    }
}
