//! The templates and what goes into them.

use std::collections::HashMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use carepost_agent_core::session::Asked;
use carepost_protocol::day;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::PatientId;
use carepost_protocol::text::{family_name, fold, initials_of_family};
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::Zone;

use super::form::{Control, FormView, Person, path};
use super::pages::{CRITICAL, DISCHARGED, HIDDEN, JOINED, NEWS};
use super::words::{self, Moment, Sentence, Weight};
use crate::desk::Answer;
use crate::desk::view::{
    CARRIED, Charted, EnrollStep, Enrolling, Entry, Locked, Mark, Open, PinPad, Refused, Resident,
    ResidentPage, Residents, Screen, SessionKey, Shown, StatusLine, Unfinished, Who,
};

/// The desk stopped in the middle of an answer; what it had made durable stands.
pub(super) struct Fault;

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let words = "This device had a fault, so what you asked for may not be done. Look at the resident's \
                     entries before you try again. If this stays, use another device and call IT.";
        refusal(StatusCode::INTERNAL_SERVER_ERROR, words)
    }
}

/// Names a screen, so that a page notices when it has become another's. Says nothing about who it is.
pub(super) fn screen_key(screen: &Screen) -> String {
    match screen {
        Screen::Enrolling(_) => "enrolling".to_owned(),
        Screen::NoRoom => "no-room".to_owned(),
        Screen::Revoked => "revoked".to_owned(),
        Screen::Locked(_) => "locked".to_owned(),
        Screen::PinPad(pad) => format!("pin-{}", pad.attempt),
        Screen::Open(open) => SessionKey::of(open.session).as_str().to_owned(),
    }
}

/// What every page has around it.
pub(super) struct Shell {
    pub(super) key: String,
    pub(super) bump: u64,
    pub(super) status: Vec<Sentence>,
    pub(super) who: Option<Open>,
    /// Seconds until the screen locks, while it warns.
    pub(super) locks_in: Option<u64>,
    /// Whether the page's own part may be replaced while somebody looks at it.
    pub(super) live: bool,
    /// How often a page without a script asks again, in seconds.
    pub(super) again: Option<u32>,
    /// In which zone its times are.
    pub(super) zone: Zone,
    /// How much of a resident is sent here.
    sent: PhiMode,
}

impl Shell {
    /// The shell of a screen that changes by itself.
    pub(super) fn new(bump: u64, screen: &Screen, status: &StatusLine) -> Self {
        let zone = status.time.zone.clone();
        let (sentences, who) = match screen {
            // Where there is no facility, or none can be read, nothing is charted and nothing sent.
            Screen::Enrolling(_) | Screen::Revoked => (Vec::new(), None),
            Screen::NoRoom => (words::cannot_open(status), None),
            Screen::Locked(_) | Screen::PinPad(_) => {
                let mut sentences = words::status(status);
                sentences.iter_mut().for_each(|sentence| sentence.link = None);
                (sentences, None)
            }
            Screen::Open(open) => (words::status(status), Some(open.clone())),
        };
        let locks_in = who.as_ref().and_then(|open| open.locks_in).map(|left| left.as_secs());
        let again = Some(if who.is_some() { 15 } else { 5 });
        let (key, sent) = (screen_key(screen), status.sent);
        Self { key, bump, status: sentences, who, locks_in, live: true, again, zone, sent }
    }

    /// Whether all that is known of residents is sent here; else what is not on a page is not none.
    pub(super) fn shows_all(&self) -> bool {
        self.sent == PhiMode::Full
    }

    /// Whether anything can be edited of what is known of residents.
    pub(super) fn shows_rooms(&self) -> bool {
        self.sent.shows("room")
    }

    /// What residents are found by.
    pub(super) const fn found_by(&self) -> &'static str {
        match self.sent {
            PhiMode::Full => "name, room or MRN",
            PhiMode::Minimal => "initials or room",
            PhiMode::Free => "case number",
        }
    }

    /// The same, to stand alone.
    pub(super) fn find_hint(&self) -> String {
        capital(self.found_by())
    }

    /// The shell of a page that must keep what is typed into it.
    pub(super) fn held(self) -> Self {
        Self { live: false, again: None, ..self }
    }

    /// A time as this page shows it.
    pub(super) fn time(&self, at: &Timestamp) -> Moment {
        Moment::new(*at, &self.zone)
    }
}

#[derive(Template)]
#[template(path = "enrolling.html")]
struct EnrollingPage<'a> {
    shell: Shell,
    enrolling: &'a Enrolling,
}

pub(super) fn enrolling(shell: Shell, enrolling: &Enrolling) -> Response {
    answer(StatusCode::OK, &EnrollingPage { shell, enrolling })
}

#[derive(Template)]
#[template(path = "no_room.html")]
struct NoRoomPage {
    shell: Shell,
}

pub(super) fn no_room(shell: Shell) -> Response {
    answer(StatusCode::OK, &NoRoomPage { shell })
}

#[derive(Template)]
#[template(path = "revoked.html")]
struct RevokedPage {
    shell: Shell,
}

pub(super) fn revoked(shell: Shell) -> Response {
    answer(StatusCode::OK, &RevokedPage { shell })
}

#[derive(Template)]
#[template(path = "locked.html")]
struct LockedPage {
    shell: Shell,
    locked: Locked,
}

pub(super) fn locked(shell: Shell, locked: Locked) -> Response {
    let again = Some(if locked.undo.is_some() { 2 } else { 5 });
    answer(StatusCode::OK, &LockedPage { shell: Shell { again, ..shell }, locked })
}

#[derive(Template)]
#[template(path = "pin.html")]
struct PinPage {
    shell: Shell,
    pad: PinPad,
}

pub(super) fn pin_pad(shell: Shell, pad: PinPad) -> Response {
    // While a PIN is checked the page asks again; while one is typed nothing may disturb it.
    let shell = if pad.checking { Shell { again: Some(1), ..shell } } else { shell.held() };
    answer(StatusCode::OK, &PinPage { shell, pad })
}

/// A resident's card.
struct Card {
    id: String,
    name: String,
    room: Option<String>,
    born: Option<String>,
    /// How many have this last name, where there is more than one.
    alert: Option<String>,
    mark: Option<Mark>,
}

#[derive(Template)]
#[template(path = "residents.html")]
struct ResidentsPage {
    shell: Shell,
    cards: Vec<Card>,
    who: Who,
    /// What was typed to find somebody.
    typed: String,
    discharged: Vec<Card>,
    /// Whether more were found than are shown.
    more: bool,
    /// The initials to choose from; none where the list is short.
    letters: Vec<char>,
    letter: Option<char>,
    total: usize,
    may_admit: bool,
    complete: bool,
    unfinished: Vec<UnfinishedView>,
    dropped: Option<UnfinishedView>,
}

/// A form that was begun, as it is listed.
struct UnfinishedView {
    path: String,
    name: String,
    resident: Option<String>,
}

impl UnfinishedView {
    /// On the resident's own page the name is not said again.
    fn of(unfinished: Unfinished, says_whose: bool) -> Self {
        let resident = unfinished.resident.filter(|_| says_whose);
        Self { path: path(&unfinished.form), name: unfinished.name, resident }
    }
}

/// A list longer than this offers the initials of last names, so that nobody scrolls through it.
const SHORT_LIST: usize = 12;
/// A list shows no more than this at once; the rest is found by its initial, or by name, room or MRN.
const LONG_LIST: usize = 500;

pub(super) fn residents(shell: Shell, residents: Residents, who: Who, letter: Option<char>) -> Response {
    let total = residents.residents.len();
    let families: Vec<Family> =
        residents.residents.iter().map(|resident| Family::of(&resident.document.name)).collect();
    let mut letters: Vec<char> = families.iter().flat_map(|family| family.letters.iter().copied()).collect();
    letters.sort_unstable();
    letters.dedup();
    let letter = letter.and_then(|letter| letter.to_uppercase().next()).filter(|at| letters.contains(at));
    if (total <= SHORT_LIST && letter.is_none()) || who != Who::Here || !shell.shows_all() {
        letters.clear();
    }
    let mut named: HashMap<&str, usize> = HashMap::new();
    families.iter().for_each(|family| *named.entry(&family.key).or_default() += 1);
    let (may_admit, complete) = (residents.may_admit, residents.complete);
    let unfinished = residents.unfinished.into_iter().map(|it| UnfinishedView::of(it, true)).collect();
    let dropped = residents.dropped.map(|it| UnfinishedView::of(it, true));
    let mut cards: Vec<Card> = residents
        .residents
        .into_iter()
        .zip(&families)
        .filter(|(_, family)| letter.is_none_or(|letter| family.letters.contains(&letter)))
        .map(|(resident, family)| {
            let named = named.get(family.key.as_str()).copied().unwrap_or_default();
            card(resident, family, named)
        })
        .collect();
    let typed = if let Who::Found(typed) = &who { typed.clone() } else { String::new() };
    let discharged = residents.discharged.into_iter();
    let discharged = discharged.map(|resident| card(resident, &Family::of(""), 0)).collect();
    let more = residents.more || cards.len() > LONG_LIST;
    cards.truncate(LONG_LIST);
    answer(
        StatusCode::OK,
        &ResidentsPage {
            shell,
            cards,
            who,
            typed,
            discharged,
            more,
            letters,
            letter,
            total,
            may_admit,
            complete,
            unfinished,
            dropped,
        },
    )
}

/// `named` is how many of the list have that family name.
fn card(resident: Resident, family: &Family, named: usize) -> Card {
    let Resident { document: resident, mark } = resident;
    Card {
        id: resident.id.to_string(),
        name: resident.name,
        room: resident.room,
        born: resident.date_of_birth.as_deref().map(day::shown),
        alert: (named > 1).then(|| format!("{named} named {}", family.name)),
        mark,
    }
}

/// What a resident is looked for by.
struct Family {
    name: String,
    key: String,
    letters: Vec<char>,
}

impl Family {
    fn of(name: &str) -> Self {
        let family = family_name(name);
        Self { key: fold(&family), letters: initials_of_family(name), name: family }
    }
}

/// A version of an entry as it is listed.
pub(super) struct EntryView {
    pub(super) record: String,
    pub(super) patient: String,
    pub(super) workflow: String,
    pub(super) author: String,
    pub(super) at: Timestamp,
    pub(super) answers: Vec<Answer>,
    pub(super) mark: Mark,
    pub(super) is_correction: bool,
    /// Whose entry it corrects.
    pub(super) corrects: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) is_critical: bool,
    pub(super) is_struck: bool,
    pub(super) may_correct: bool,
    pub(super) has_form: bool,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            record: entry.record.to_string(),
            patient: entry.patient.to_string(),
            workflow: entry.workflow,
            author: entry.author,
            at: entry.recorded_at,
            corrects: entry.corrects,
            reason: entry.reason,
            is_critical: !entry.is_struck && entry.answers.iter().any(|answer| answer.is_critical),
            is_struck: entry.is_struck,
            answers: entry.answers,
            mark: entry.mark,
            is_correction: entry.is_correction,
            may_correct: entry.may_correct,
            has_form: entry.has_form,
        }
    }
}

/// An entry with its corrections as it is listed.
pub(super) struct ChartedView {
    pub(super) counts: Vec<EntryView>,
    pub(super) earlier: Vec<EntryView>,
    /// How many versions are left out.
    pub(super) left_out: usize,
    /// There are more corrections than are looked at.
    pub(super) is_cut: bool,
    /// That somebody has to decide what stands.
    pub(super) beside: Option<BesideView>,
    /// Where there are more of them.
    pub(super) more: Option<String>,
}

/// Who corrected one entry side by side, and struck it out, and who looked at it last, and when.
pub(super) struct BesideView {
    pub(super) by: String,
    pub(super) struck_by: String,
    pub(super) looked: Option<(String, Timestamp)>,
}

impl ChartedView {
    pub(super) fn of(charted: Charted, more: Option<&String>) -> Self {
        Self {
            left_out: charted.left_out,
            is_cut: charted.is_cut,
            beside: charted.beside.map(|it| BesideView {
                by: it.by.join(", "),
                struck_by: it.struck_by.join(", "),
                looked: it.looked,
            }),
            more: more.cloned(),
            counts: charted.counts.into_iter().map(EntryView::from).collect(),
            earlier: charted.earlier.into_iter().map(EntryView::from).collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "resident.html")]
struct ResidentTemplate {
    shell: Shell,
    id: String,
    person: Person,
    /// As whom the same person was admitted besides.
    also: Vec<Person>,
    may_edit: bool,
    /// What takes a discharge back: the token of a form, and its answers.
    readmission: Option<(String, Vec<(String, String)>)>,
    /// How far the last edit here has come.
    mark: Option<Mark>,
    /// Keys and labels of what can be charted.
    forms: Vec<(String, String)>,
    entries: Vec<ChartedView>,
    complete: bool,
    /// Where there are more entries.
    more_entries: Option<String>,
    /// Before which day entries are on the server alone.
    older_before: Option<String>,
    saved: bool,
    /// Whether what was saved is critical.
    is_critical: bool,
    /// Whether what was saved is that two are one person.
    is_joined: bool,
    /// Whether what was saved is that the resident was discharged.
    is_discharged: bool,
    /// Set where nobody was admitted, because this resident is known: what became of what is new about them.
    known: Option<&'static str>,
    unfinished: Vec<UnfinishedView>,
    dropped: Option<UnfinishedView>,
}

pub(super) fn resident(
    shell: Shell,
    page: ResidentPage,
    saved: Option<&str>,
    known: Option<&str>,
) -> Response {
    let Resident { document, mark } = page.resident;
    let id = document.id;
    let address = |Shown { after, entries, versions }| {
        format!("/residents/{id}?after={after}&entries={entries}&versions={versions}")
    };
    let more_versions = page.more_versions.map(address);
    let older_before = page.older_before.map(|at| words::date(at, &shell.zone));
    let page = ResidentTemplate {
        shell,
        id: document.id.to_string(),
        person: Person::from(&document),
        also: page.also.iter().map(Person::from).collect(),
        may_edit: page.may_edit,
        readmission: page.readmission,
        mark,
        forms: page.workflows.into_iter().map(|workflow| (workflow.key, workflow.label)).collect(),
        entries: page
            .entries
            .into_iter()
            .map(|charted| ChartedView::of(charted, more_versions.as_ref()))
            .collect(),
        complete: page.complete,
        more_entries: page.more_entries.map(address),
        older_before,
        saved: saved.is_some(),
        is_critical: saved == Some(CRITICAL),
        is_joined: saved == Some(JOINED),
        is_discharged: saved == Some(DISCHARGED),
        known: known.map(news),
        unfinished: page.unfinished.into_iter().map(|it| UnfinishedView::of(it, false)).collect(),
        dropped: page.dropped.map(|it| UnfinishedView::of(it, false)),
    };
    answer(StatusCode::OK, &page)
}

/// What became of what was typed about whoever was to be admitted, and is known.
fn news(what: &str) -> &'static str {
    match what {
        NEWS => "What you typed that is new is kept below, not saved yet: open it to save it, or discard it.",
        HIDDEN => {
            "What you typed is not all shown on this device. It is kept on the list of residents, not saved: enter \
             what is new on a device that shows it, then discard it here."
        }
        _ => "",
    }
}

#[derive(Template)]
#[template(path = "form.html")]
struct FormTemplate {
    shell: Shell,
    form: FormView,
}

pub(super) fn form(status: StatusCode, shell: Shell, form: FormView) -> Response {
    answer(status, &FormTemplate { shell: shell.held(), form })
}

#[derive(Template)]
#[template(path = "rescue.html")]
struct RescuePage<'a> {
    shell: Shell,
    answers: Vec<&'a (String, String)>,
    words: &'a str,
    /// Where the draft that keeps them is discarded.
    discard: Option<&'a str>,
}

/// Answers that were neither saved nor can be shown in their form.
pub(super) fn rescue(
    status: StatusCode,
    shell: Shell,
    answers: &[(String, String)],
    words: &str,
    discard: Option<&str>,
) -> Response {
    let answers = answers.iter().filter(|(key, _)| !CARRIED.contains(&key.as_str())).collect();
    answer(status, &RescuePage { shell: shell.held(), answers, words, discard })
}

#[derive(Template)]
#[template(path = "open_refusal.html")]
struct OpenRefusal<'a> {
    shell: Shell,
    words: &'a str,
}

/// A refusal to somebody who is signed in and has no other page to go to.
pub(super) fn open_refusal(shell: Shell, why: &Refused) -> Response {
    answer(status_of(why), &OpenRefusal { shell, words: &sentence(why) })
}

#[derive(Template)]
#[template(path = "bare.html")]
struct BarePage {
    shell: Shell,
}

/// The shell alone, for pages that keep what is typed into them.
pub(super) fn bare(shell: Shell) -> Response {
    answer(StatusCode::OK, &BarePage { shell: shell.held() })
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage<'a> {
    words: &'a str,
    /// Whose page tells more.
    resident: Option<PatientId>,
}

/// A refusal that shows nothing of what the kiosk knows.
pub(super) fn refusal(status: StatusCode, words: &str) -> Response {
    answer(status, &RefusalPage { words, resident: None })
}

/// A refusal that a resident's page explains.
pub(super) fn refusal_about(why: &Refused, resident: PatientId) -> Response {
    answer(status_of(why), &RefusalPage { words: &sentence(why), resident: Some(resident) })
}

/// The status of a refusal.
pub(super) const fn status_of(why: &Refused) -> StatusCode {
    match why {
        Refused::Locked => StatusCode::UNAUTHORIZED,
        Refused::NotAllowed | Refused::NotYours | Refused::NotTheirs => StatusCode::FORBIDDEN,
        Refused::NoSuchResident
        | Refused::NoSuchWorkflow
        | Refused::NoSuchRecord
        | Refused::NotRefused
        | Refused::NoSuchReview => StatusCode::NOT_FOUND,
        Refused::NotSent
        | Refused::NotShown
        | Refused::NoSuchVersion
        | Refused::Struck
        | Refused::InCare(_)
        | Refused::NotInCare(_) => StatusCode::CONFLICT,
        Refused::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::Storage(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// A refusal as a sentence.
pub(super) fn sentence(why: &Refused) -> String {
    format!("{}.", capital(&why.to_string()).trim_end_matches('.'))
}

/// The same words, to begin a sentence with.
pub(super) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

pub(super) fn answer(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page is broken. Use another device and call IT.")
                .into_response()
        }
    }
}
