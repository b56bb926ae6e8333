//! The list of residents, one resident's page, and what was charted as pages list it.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::day;
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::text::{family_name, fold, initials_of_family};
use serde::{Deserialize, Serialize};

use super::form::Person;
use super::shell::{Shell, answer, sentence, status_of};
use super::words::{self, Weight};
use crate::workspace::News;
use crate::workspace::view::{
    Answered, Begun, Entry, Mark, Refused, Resident, ResidentPage, Residents, Shown, Who,
};

/// What was saved just before a page was opened, as its address says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Saved {
    #[serde(rename = "1")]
    Entry,
    /// An entry with a critical value.
    Critical,
    /// That an entry was charted in error.
    Struck,
    Discharged,
    Readmitted,
    Admitted,
    /// Who a resident is, or where.
    Edited,
    /// That two are one person.
    Joined,
}

/// A resident's card.
struct Card {
    id: String,
    name: String,
    room: Option<String>,
    born: Option<String>,
    /// Where another card says the same.
    mrn: Option<String>,
    /// Of what two values were saved.
    contested: Option<String>,
    /// How many have this last name, where there is more than one; how many look the same, where any do.
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
    begun: Begun,
}

#[derive(Template)]
#[template(path = "open_refusal.html")]
struct OpenRefusal<'a> {
    shell: Shell,
    words: &'a str,
    begun: Begun,
}

/// Why no residents are shown to somebody who is signed in, with what she began before and dropped last.
pub(crate) fn refused(shell: Shell, why: &Refused, begun: Begun) -> Response {
    let page = OpenRefusal { shell, words: &sentence(why), begun };
    answer(status_of(why), &page)
}

/// A list longer than this offers the initials of last names, so that nobody scrolls through it.
const SHORT_LIST: usize = 12;
/// A list shows no more than this at once; the rest is found by its initial, or by name, room or MRN.
const LONG_LIST: usize = 500;

pub(crate) fn residents(shell: Shell, residents: Residents, who: Who, letter: Option<char>) -> Response {
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
    let named = counted(families.iter().map(|family| family.key.as_str()));
    let (may_admit, complete) = (residents.may_admit, residents.complete);
    let begun = residents.begun;
    let mut cards: Vec<Card> = residents
        .residents
        .into_iter()
        .zip(&families)
        .filter(|(_, family)| letter.is_none_or(|letter| family.letters.contains(&letter)))
        .map(|(resident, family)| {
            let named = named.get(family.key.as_str()).copied().unwrap_or_default();
            card(resident, family, named, &residents.contested)
        })
        .collect();
    let typed = if let Who::Found(typed) = &who { typed.clone() } else { String::new() };
    let discharged = residents.discharged.into_iter();
    let mut discharged: Vec<Card> =
        discharged.map(|resident| card(resident, &Family::of(""), 0, &residents.contested)).collect();
    tell_apart(cards.iter_mut().chain(&mut discharged).collect());
    warn_of_twins(&mut cards);
    warn_of_twins(&mut discharged);
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
            begun,
        },
    )
}

/// `named` is how many of the list have that family name.
fn card(
    resident: Resident,
    family: &Family,
    named: usize,
    contested: &BTreeMap<PatientId, Vec<String>>,
) -> Card {
    let Resident { document: resident, mark } = resident;
    Card {
        contested: contested.get(&resident.id).map(|labels| labels.join(", ")),
        id: resident.id.to_string(),
        name: resident.name,
        room: resident.room,
        born: resident.date_of_birth.as_deref().map(day::shown),
        mrn: Some(resident.mrn).filter(|mrn| !mrn.is_empty()),
        alert: (named > 1).then(|| format!("{named} named {}", family.name)),
        mark,
    }
}

/// Leaves the MRN where another card says all else alike.
fn tell_apart(cards: Vec<&mut Card>) {
    let says = |card: &Card| (card.name.clone(), card.room.clone(), card.born.clone());
    let alike = counted(cards.iter().map(|card| says(card)));
    for card in cards {
        let is_alone = alike.get(&says(card)) == Some(&1);
        card.mrn.take_if(|_| is_alone);
    }
}

/// Says of cards that say the same all the same that they do.
fn warn_of_twins(cards: &mut [Card]) {
    let says = |card: &Card| (card.name.clone(), card.room.clone(), card.born.clone(), card.mrn.clone());
    let same = counted(cards.iter().map(says));
    for card in cards {
        if let Some(many @ 2..) = same.get(&says(card)).copied() {
            card.alert = Some(format!("{many} look the same here"));
        }
    }
}

/// How often each is there.
fn counted<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut counts: HashMap<K, usize> = HashMap::new();
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    counts
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

#[derive(Template)]
#[template(path = "resident.html")]
struct ResidentTemplate {
    shell: Shell,
    id: PatientId,
    person: Person,
    page: ResidentPage,
    /// Where there are more entries, and more versions of each.
    more_entries: Option<String>,
    more_versions: Option<String>,
    /// Before which day entries are on the server alone.
    older_before: Option<String>,
    saved: Option<Saved>,
    critical: Vec<String>,
    /// Set where nobody was admitted, because this resident is known: what became of what is new about them.
    known: Option<&'static str>,
}

pub(crate) fn resident(
    shell: Shell,
    mut page: ResidentPage,
    (saved, entry): (Option<Saved>, Option<RecordId>),
    known: Option<News>,
) -> Response {
    let id = page.resident.document.id;
    let address = |Shown { after, entries, versions }| {
        format!("/residents/{id}?after={after}&entries={entries}&versions={versions}")
    };
    // On the resident's own page the name is not said again.
    let begun = page.begun.unfinished.iter_mut().chain(&mut page.begun.dropped);
    begun.for_each(|begun| begun.resident = None);
    let shown = page.entries.iter().flat_map(|charted| &charted.counts);
    let critical = shown.filter(|shown| Some(shown.record) == entry).flat_map(Entry::critical);
    let critical = critical.map(|answer| format!("{} {}", answer.label, answer.words)).collect();
    let page = ResidentTemplate {
        id,
        critical,
        person: Person::among(&page.resident.document, page.twins, shell.shows_all()),
        more_entries: page.more_entries.map(address),
        more_versions: page.more_versions.map(address),
        older_before: page.older_before.map(|at| words::date(at, &shell.zone)),
        saved,
        known: known.map(news),
        shell,
        page,
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
