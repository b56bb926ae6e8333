//! The list of residents, one resident's page, and what was charted as pages list it.

use std::collections::HashMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::day;
use carepost_protocol::text::{family_name, fold, initials_of_family};
use carepost_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::form::{Person, path};
use super::page::{Shell, answer, sentence, status_of};
use super::words::{self, Weight};
use crate::desk::view::{
    Charted, Entry, Mark, Refused, Resident, ResidentPage, Residents, Shown, Unfinished, Who,
};
use crate::desk::{Answer, News};

/// What was saved just before a page was opened, as its address says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Saved {
    #[serde(rename = "1")]
    Entry,
    /// An entry with a critical value.
    Critical,
    Discharged,
    /// That two are one person.
    Joined,
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

#[derive(Template)]
#[template(path = "open_refusal.html")]
struct OpenRefusal<'a> {
    shell: Shell,
    words: &'a str,
    unfinished: Vec<UnfinishedView>,
    dropped: Option<UnfinishedView>,
}

/// Why no residents are shown to somebody who is signed in, with what she began before and dropped last.
pub(super) fn refused(
    shell: Shell,
    why: &Refused,
    unfinished: Vec<Unfinished>,
    dropped: Option<Unfinished>,
) -> Response {
    let dropped = dropped.map(|it| UnfinishedView::of(it, true));
    let unfinished = unfinished.into_iter().map(|it| UnfinishedView::of(it, true)).collect();
    let page = OpenRefusal { shell, words: &sentence(why), unfinished, dropped };
    answer(status_of(why), &page)
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
    saved: Option<Saved>,
    /// Set where nobody was admitted, because this resident is known: what became of what is new about them.
    known: Option<&'static str>,
    unfinished: Vec<UnfinishedView>,
    dropped: Option<UnfinishedView>,
}

pub(super) fn resident(
    shell: Shell,
    page: ResidentPage,
    saved: Option<Saved>,
    known: Option<News>,
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
        saved,
        known: known.map(news),
        unfinished: page.unfinished.into_iter().map(|it| UnfinishedView::of(it, false)).collect(),
        dropped: page.dropped.map(|it| UnfinishedView::of(it, false)),
    };
    answer(StatusCode::OK, &page)
}

/// What became of what was typed about whoever was to be admitted, and is known.
const fn news(what: News) -> &'static str {
    match what {
        News::Nothing => "",
        News::Edit => {
            "What you typed that is new is kept below, not saved yet: open it to save it, or discard it."
        }
        News::Hidden => {
            "What you typed is not all shown on this device. It is kept on the list of residents, not saved: enter \
             what is new on a device that shows it, then discard it here."
        }
    }
}
