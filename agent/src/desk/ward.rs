//! The desk of an enrolled device: one facility's mirror and outbox behind one session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carepost_agent_core::session::{
    Asked, SessionEvent, SessionMachine, SessionPolicy, SessionView, Throttle,
};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::record::{Collection, PatientDocument};
use carepost_protocol::role::{Act, Actor, ManagePatients, Permit, ReadPatients};
use carepost_protocol::unit::Units;
use carepost_protocol::wire::enroll::Grant;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::chart::{LastSave, OpenForm};
use super::noted::{LastRead, Page, Unsaved};
use super::older::Older;
use super::taps::Tap;
use super::times::TimeHere;
use super::unfinished::{Dropped, Left};
use super::view::{Form, Locked, Open, PinPad, Refused, ResidentPage, Screen, SessionKey, Shown, StatusLine};
use super::{lock, words};
use crate::badge::Feedback;
use crate::clock::Clock;
use crate::mirror::Mirror;
use crate::outbox::Outbox;

/// See the module.
pub struct Ward {
    pub(super) grant: Grant,
    pub(super) badge_key: Zeroizing<[u8; 32]>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) clock: Arc<Clock>,
    pub(super) session: Mutex<SessionMachine>,
    /// What the reader shall show for the tap that is being answered.
    pub(super) feedback: Mutex<Option<Feedback>>,
    /// By what the last card that was nobody's badge would be known, and when it was there. Never written down.
    pub(super) unknown: Mutex<Option<(String, Duration)>>,
    /// Counters of wrong PINs that the disk did not take.
    pub(super) unkept: Mutex<BTreeMap<UserId, Throttle>>,
    /// Held while an event is decided and done.
    acting: Mutex<()>,
    /// Whose PIN the session wants checked, and how.
    pub(super) checks: Mutex<Option<(UserId, Asked)>>,
    /// A new PIN that was typed once, and whose it is.
    pub(super) chosen: Mutex<Option<(UserId, ChosenPin)>>,
    pub(super) form: Mutex<Option<OpenForm>>,
    /// By user: the form that was on the screen when it locked.
    pub(super) left: Mutex<BTreeMap<UserId, Left>>,
    pub(super) dropped: Mutex<Option<Dropped>>,
    pub(super) last_save: Mutex<Option<LastSave>>,
    /// The last page that was written down as read, or as refused.
    pub(super) last_read: Mutex<Option<LastRead>>,
    /// Wakes the sync: something was saved.
    pub(super) saved: Notify,
    pub(super) unsaved: Mutex<Unsaved>,
    pub(super) older: Older,
}

/// What a ward is made of.
pub struct WardParts {
    /// What the server granted.
    pub grant: Grant,
    /// The facility's badge key.
    pub badge_key: Zeroizing<[u8; 32]>,
    /// What the server can give again.
    pub mirror: Arc<Mirror>,
    /// What exists nowhere else.
    pub outbox: Arc<Outbox>,
    /// How long things last at this screen.
    pub policy: SessionPolicy,
    /// The process's clock.
    pub clock: Arc<Clock>,
}

impl std::fmt::Debug for Ward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ward").field("device", &self.grant.device_id).finish_non_exhaustive()
    }
}

impl Ward {
    /// A ward whose screen is locked.
    #[must_use]
    pub fn new(parts: WardParts) -> Self {
        let place = (parts.grant.organization_id, parts.grant.facility_id);
        Self {
            session: Mutex::new(SessionMachine::new(parts.policy, place)),
            grant: parts.grant,
            badge_key: parts.badge_key,
            mirror: parts.mirror,
            outbox: parts.outbox,
            clock: parts.clock,
            feedback: Mutex::new(None),
            unknown: Mutex::default(),
            unkept: Mutex::new(BTreeMap::new()),
            acting: Mutex::new(()),
            checks: Mutex::new(None),
            chosen: Mutex::new(None),
            form: Mutex::new(None),
            left: Mutex::new(BTreeMap::new()),
            dropped: Mutex::new(None),
            last_save: Mutex::new(None),
            last_read: Mutex::new(None),
            saved: Notify::new(),
            unsaved: Mutex::new(Unsaved::default()),
            older: Older::default(),
        }
    }

    /// What the device was granted.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// What the server can give again.
    #[must_use]
    pub const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// What exists nowhere else.
    #[must_use]
    pub const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Waits until something is saved that has to go to the server.
    pub async fn until_saved(&self) {
        self.saved.notified().await;
    }

    /// Who is signed in.
    #[must_use]
    pub fn active_user(&self) -> Option<UserId> {
        lock(&self.session).actor(self.clock.monotonic()).map(|actor| actor.user)
    }

    pub(super) fn screen(&self) -> Screen {
        let session = lock(&self.session);
        let undo = session.undo_name().map(ToOwned::to_owned);
        let attempt = session.pin_attempt().map(|(attempt, _)| attempt);
        let view = session.view(self.clock.monotonic());
        drop(session);
        let say = |notice: Option<_>| notice.map(|notice| words::notice(notice, self.clock.now()));
        match view {
            SessionView::Locked { notice } => Screen::Locked(self.locked(say(notice), None)),
            SessionView::JustLocked { notice, .. } => Screen::Locked(self.locked(say(notice), undo)),
            SessionView::PinPad { display_name, asked, checking, notice, tries_left } => {
                let notice = say(notice).map(|notice| match tries_left {
                    1 if asked == Asked::Pin => {
                        format!("{notice} One try is left before a lock of 30 minutes.")
                    }
                    _ => notice,
                });
                let attempt = attempt.unwrap_or(0);
                Screen::PinPad(PinPad { display_name, asked, attempt, notice, checking })
            }
            SessionView::Open { member, session, locks_in, warns, notice } => Screen::Open(Open {
                session,
                role: words::role(member.role),
                display_name: member.display_name,
                locks_in: warns.then_some(locks_in),
                notice: say(notice),
            }),
        }
    }

    fn locked(&self, notice: Option<String>, undo: Option<String>) -> Locked {
        let facility = self.mirror.facility().ok().flatten();
        let facility_name = facility.as_ref().map_or(&self.grant.facility_name, |facility| &facility.name);
        Locked {
            facility_name: facility_name.clone(),
            organization_name: facility.as_ref().map(|it| it.organization_name.clone()).unwrap_or_default(),
            phone: facility.and_then(|facility| facility.phone),
            notice,
            undo,
        }
    }

    /// The measures that the facility charts in.
    pub(super) fn units(&self) -> Units {
        self.mirror.facility().ok().flatten().map(|facility| facility.units).unwrap_or_default()
    }

    pub(super) fn report(&self, status: &mut StatusLine) {
        let now = self.clock.now();
        match self.outbox.counts() {
            Ok(counts) => {
                status.waiting = counts.care;
                status.rejected = counts.rejected;
                status.oldest_waiting = counts.oldest.map(|made| now.since(made));
            }
            Err(error) => status.storage_trouble = Some(error.to_string()),
        }
        let actor = lock(&self.session).actor(self.clock.monotonic());
        if let Some(actor) = actor {
            status.reviews = self.count_reviews(&SessionKey::of(actor.session));
        }
        status.loading = !self.is_loaded(Collection::Patients);
        status.differs = self.differing();
        status.stepped_over = self.stepped_over();
        status.sent = self.phi_mode();
        let facility = self.mirror.facility().ok().flatten();
        status.time = TimeHere::of(facility.as_ref(), self.clock.zone());
        status.phone = facility.and_then(|facility| facility.phone);
        status.storage_trouble = self.trouble().or(status.storage_trouble.take());
    }

    /// How much of a resident is here. Where that cannot be read, nothing is said to be none.
    pub(super) fn phi_mode(&self) -> PhiMode {
        self.mirror.phi_mode().unwrap_or(PhiMode::Free)
    }

    /// In which zone times are shown and read here.
    pub(super) fn time_here(&self) -> TimeHere {
        TimeHere::of(self.mirror.facility().ok().flatten().as_ref(), self.clock.zone())
    }

    pub(super) fn is_loaded(&self, collection: Collection) -> bool {
        self.mirror.is_complete(collection).unwrap_or(false)
    }

    pub(super) fn resident(
        &self,
        on: &SessionKey,
        id: PatientId,
        shown: Shown,
    ) -> Result<ResidentPage, Refused> {
        let page = Page::resident(id);
        let permit = self.permit::<ReadPatients>(on, &page)?;
        let complete = self.is_loaded(Collection::Records);
        let resident = self.resident_now(&permit, id)?.ok_or_else(|| {
            self.note(permit.actor(), &page, false);
            Refused::NoSuchResident
        })?;
        let id = resident.document.id;
        let whole = resident.document.chart();
        let forms = self.forms()?;
        let eyes = self.eyes(on, &forms)?;
        let (entries, is_all) = self.entries(&permit, &whole, &eyes, shown)?;
        let complete = complete && self.is_loaded(Collection::Records);
        self.note(permit.actor(), &page, true);
        let may_edit = self.may::<ManagePatients>(on)?.is_some();
        let ended = may_edit && !resident.document.is_active;
        let readmission = ended.then(|| self.sheet(on, &Form::Readmit(id), &[], None)).transpose()?;
        let older_before = self.mirror.archived_before().map_err(storage)?;
        let (more_entries, more_versions) = ((!is_all).then(|| shown.more_entries()), shown.more_versions());
        let replaced = resident.document.replaces.iter().map(|id| self.resident_here(&permit, *id));
        let replaced: Result<Vec<_>, Refused> = replaced.collect();
        Ok(ResidentPage {
            also: replaced?.into_iter().flatten().map(|resident| resident.document).collect(),
            resident,
            may_edit,
            workflows: if eyes.charts.is_some() { forms.offered() } else { Vec::new() },
            entries,
            complete,
            more_entries,
            more_versions,
            older_before,
            readmission: readmission.map(|sheet| (hex(&self.clock.random::<16>()), sheet.answers)),
            unfinished: self.unfinished(on, permit.actor().user, Some(&whole))?,
            dropped: self.dropped(on, Some(id)),
        })
    }

    pub(super) fn session_on(&self, event: SessionEvent) {
        self.session_on_tap(event, None);
    }

    /// As [`Self::session_on`], for what a reader saw.
    pub(super) fn session_on_tap(&self, event: SessionEvent, tap: Option<&Tap<'_>>) {
        let random = self.clock.random::<10>();
        // What one event decided is done before the next is looked at: two wrong PINs count as two.
        let _acting = lock(&self.acting);
        let effects = lock(&self.session).on(event, self.clock.now(), self.clock.monotonic(), random);
        self.perform(effects, tap);
    }

    /// Whether that session is the one that is open.
    pub(super) fn is_open(&self, on: &SessionKey) -> bool {
        self.actor(on).is_some()
    }

    /// Whoever's session that is, while it is open.
    pub(super) fn actor(&self, on: &SessionKey) -> Option<Actor> {
        lock(&self.session).actor(self.clock.monotonic()).filter(|actor| on.names(actor.session))
    }

    /// A permit of the session that a page was made for; none once another is open. That and whether
    /// its role allows it are asked at one moment.
    pub(super) fn authorized<A: Act>(&self, on: &SessionKey) -> Result<Permit<A>, (Refused, Option<Actor>)> {
        use carepost_agent_core::session::Refused as NoPermit;
        let session = lock(&self.session);
        let now = self.clock.monotonic();
        let actor = session.actor(now).filter(|actor| on.names(actor.session));
        let actor = actor.ok_or((Refused::Locked, None))?;
        session.authorize::<A>(now).map_err(|refused| match refused {
            NoPermit::NoSession => (Refused::Locked, None),
            NoPermit::Denied(_) => (Refused::NotAllowed, Some(actor)),
        })
    }

    /// As [`Ward::authorized`], for what is only offered to whoever may: none where the role does not allow it.
    pub(super) fn may<A: Act>(&self, on: &SessionKey) -> Result<Option<Permit<A>>, Refused> {
        match self.authorized(on) {
            Err((Refused::NotAllowed, _)) => Ok(None),
            permit => permit.map(Some).map_err(|(refused, _)| refused),
        }
    }

    /// As [`Ward::authorized`]; that a role does not allow it is written down.
    pub(super) fn permit<A: Act>(&self, on: &SessionKey, page: &Page) -> Result<Permit<A>, Refused> {
        self.authorized::<A>(on).map_err(|(refused, actor)| {
            if let Some(actor) = actor {
                self.note(&actor, page, false);
            }
            refused
        })
    }

    /// A resident who is here; that somebody asked for one who is not is written down, as that page.
    pub(super) fn find(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
        page: Option<&Page>,
    ) -> Result<PatientDocument, Refused> {
        let known = self.resident_here(permit, id)?.map(|resident| resident.document);
        known.ok_or_else(|| {
            if let Some(page) = page {
                self.note(permit.actor(), page, false);
            }
            Refused::NoSuchResident
        })
    }
}

#[allow(clippy::needless_pass_by_value)] // so that it fits map_err
pub(super) fn storage(error: impl std::fmt::Display) -> Refused {
    Refused::Storage(error.to_string())
}
