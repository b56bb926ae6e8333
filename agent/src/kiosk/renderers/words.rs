//! States in words: what the line at the top says, how long is long, how a time reads.

use std::time::Duration;

use carepost_agent_core::sync::{Distrust, Hold};
use carepost_protocol::day;
use carepost_protocol::record::Collection;
use carepost_protocol::text::thousands;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState, SteppedOver};
use carepost_protocol::zone::{WallClock, Zone};

use crate::workspace::REVIEWS_COUNTED;
use crate::workspace::times::{TimeHere, Whose};
use crate::workspace::view::{Link, Sending, StatusLine};

/// How much a sentence of the status line matters; each has its own icon and word beside its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// All is well.
    Calm,
    /// Worth knowing; work goes on.
    Notice,
    /// Somebody must act.
    Trouble,
}

impl Weight {
    /// The class its colours hang on.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Notice => "notice",
            Self::Trouble => "trouble",
        }
    }
}

/// A sentence of the status line, with at most one time in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) weight: Weight,
    pub(crate) before: String,
    pub(crate) at: Option<Timestamp>,
    pub(crate) after: String,
    /// Where it is told at length, for whoever is signed in.
    pub(crate) link: Option<&'static str>,
}

impl Sentence {
    fn plain(weight: Weight, words: impl Into<String>) -> Self {
        Self { weight, before: words.into(), at: None, after: String::new(), link: None }
    }

    fn leading_to(self, link: &'static str) -> Self {
        Self { link: Some(link), ..self }
    }
}

/// A time as a page carries it: exact for the browser, readable without its help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339.
    pub(crate) exact: String,
    /// In words, for a page whose script does not run.
    pub(crate) plain: String,
    /// Which time it is, such as `CDT`, where clocks show it twice.
    pub(crate) of: Option<String>,
}

impl Moment {
    /// That moment on the walls of a zone: the one place where pages tell time.
    pub(crate) fn new(at: Timestamp, zone: &Zone) -> Self {
        let WallClock { day, time, of, is_twice } = zone.clock(at);
        let plain = format!("{} {} {of}", day::shown(&day), time.get(..5).unwrap_or_default());
        Self { exact: at.to_string(), plain, of: is_twice.then_some(of) }
    }
}

/// Why a device cannot open its files, or write them, for IT.
pub(crate) fn storage(line: &StatusLine) -> Vec<Sentence> {
    let words = |why: &String| format!("For IT: {}.", why.trim_end_matches('.'));
    line.storage_trouble.iter().map(|why| Sentence::plain(Weight::Trouble, words(why))).collect()
}

/// The status line, what matters most first. Where nothing can be saved, whatever says that charting goes on, or that
/// all is well, would contradict that: it is left out.
pub(crate) fn status(line: &StatusLine) -> Vec<Sentence> {
    if let Some(why) = &line.storage_trouble {
        let words = format!(
            "This device cannot save: {}. Begin nothing new here: write it on paper, use another device and call IT.",
            why.trim_end_matches('.')
        );
        let cannot_save = Sentence::plain(Weight::Trouble, words);
        return [Some(cannot_save), reader(line.reader)].into_iter().flatten().collect();
    }
    let mut sentences = Vec::new();
    let look = match line.reviews {
        0 => None,
        1 => Some("1 question needs a look.".to_owned()),
        n if n < REVIEWS_COUNTED as u64 => Some(format!("{n} questions need a look.")),
        _ => Some(format!("{REVIEWS_COUNTED} or more questions need a look.")),
    };
    let rejected = match line.rejected {
        0 => None,
        1 => Some("The server rejected 1 entry. Tell your charge nurse.".to_owned()),
        n => Some(format!("The server rejected {n} entries. Tell your charge nurse.")),
    };
    sentences.extend(rejected.map(|words| Sentence::plain(Weight::Trouble, words).leading_to("/rejected")));
    sentences.extend(line.sync.held.map(|hold| held(hold, line.encryption.as_ref())));
    sentences.extend(line.outbox_trouble.as_ref().map(|why| {
        let words = format!("You can keep charting: {}. Call IT.", why.trim_end_matches('.'));
        Sentence::plain(Weight::Trouble, words)
    }));
    sentences.extend(copy_trouble(line).map(|words| Sentence::plain(Weight::Trouble, words)));
    if let Some(still) = line.sync.still {
        let words = format!(
            "Connected, but nothing has been sent or received for {}. What you chart is kept here. Call IT.",
            long(still)
        );
        sentences.push(Sentence::plain(Weight::Trouble, words));
    }
    sentences.extend(look.map(|words| Sentence::plain(Weight::Notice, words).leading_to("/reviews")));
    sentences.extend(reader(line.reader));
    sentences.push(link(line));
    sentences.extend(loading(line));
    sentences.extend(differs(&line.differs));
    sentences.extend(stepped_over(&line.stepped_over));
    sentences.extend(time_zone(&line.time).map(|words| Sentence::plain(Weight::Notice, words)));
    sentences
}

/// Whose time is shown, where that is not the facility's.
pub(crate) fn time_zone(time: &TimeHere) -> Option<String> {
    let own = time.zone.name().map(|name| format!(" ({name})")).unwrap_or_default();
    match &time.whose {
        Whose::Facility | Whose::Device => None,
        Whose::Coming => Some(format!(
            "This facility's time zone has not arrived here yet, so times are this device's own{own} until it does."
        )),
        Whose::Unset => Some(format!(
            "This facility's time zone is not set, so times are this device's own{own}. Ask an administrator to set it."
        )),
        Whose::Unknown(name) => Some(format!(
            "This device does not know the facility's time zone, {name}, so times are its own{own}. Call IT: \
             this device has to be updated."
        )),
    }
}

fn held(hold: Hold, encryption: Option<&Encryption>) -> Sentence {
    let why = match hold {
        Hold::Quarantined => "Somebody has to confirm that this is the right device",
        Hold::NotEncrypted => "This facility serves encrypted devices only, and this one is not encrypted",
    };
    let exposed = encryption.filter(|_| hold == Hold::NotEncrypted).map_or(&[][..], |it| &it.exposed);
    let reasons: String = exposed.iter().map(|exposure| format!(" ({})", exposure.words())).collect();
    let words =
        format!("{why}{reasons}. What you chart is still sent, but nothing new arrives here. Call IT.");
    Sentence::plain(Weight::Trouble, words)
}

/// Why nothing new arrives here. With a copy, charting goes on where anything can be saved.
pub(crate) fn copy_trouble(line: &StatusLine) -> Option<String> {
    let why = line.sync.copy.as_ref()?.words();
    let goes_on = !line.loading && line.storage_trouble.is_none();
    let still = if goes_on { " You can keep charting." } else { "" };
    Some(format!("Nothing new arrives here: {why}.{still} Call IT."))
}

fn stepped_over(over: &[SteppedOver]) -> Option<Sentence> {
    let count = over.iter().map(|over| over.count).fold(0, u64::saturating_add);
    not_shown(count).map(|words| Sentence::plain(Weight::Notice, words))
}

/// A document that is not here may matter: where it can be read is said.
pub(crate) fn not_shown(count: u64) -> Option<String> {
    let words = match count {
        0 => return None,
        1 => "1 item on the server cannot be shown here, or is".to_owned(),
        _ => format!("{count} items on the server cannot be shown here, or are"),
    };
    Some(format!(
        "{words} shown in an older version. Everything else is up to date. Look it up on another device, and \
         call IT."
    ))
}

fn differs(collections: &[Collection]) -> Option<Sentence> {
    let names: Vec<&str> = collections.iter().map(|collection| copy_of(*collection)).collect();
    let (last, others) = names.split_last()?;
    let names =
        if others.is_empty() { (*last).to_owned() } else { format!("{} and {last}", others.join(", ")) };
    let words = format!(
        "This device's copy of {names} differs from the server's. It is being fetched again; until then \
         something may be missing or out of date here."
    );
    Some(Sentence::plain(Weight::Notice, words))
}

const fn copy_of(collection: Collection) -> &'static str {
    match collection {
        Collection::Facilities => "the facility's details",
        Collection::Users => "the staff",
        Collection::Badges => "the badges",
        Collection::Workflows => "the forms",
        Collection::Patients => "the residents",
        Collection::Records => "the charts",
        Collection::Reviews => "the reviews",
    }
}

fn loading(line: &StatusLine) -> Option<Sentence> {
    let words = match line.sync.loaded.filter(|_| line.link == Link::Online) {
        Some(percent) => {
            format!("Loading the facility's records: {percent}%. Some residents may be missing.")
        }
        None => "The first copy of this facility's records is still loading. Some residents may be missing."
            .to_owned(),
    };
    line.loading.then(|| Sentence::plain(Weight::Notice, words))
}

fn reader(state: ReaderState) -> Option<Sentence> {
    let (weight, words) = match state {
        ReaderState::Ready => return None,
        ReaderState::Missing => {
            (Weight::Trouble, "Badge reader unplugged. Plug it in again; if that does not help, call IT.")
        }
        ReaderState::ServiceDown => {
            (Weight::Trouble, "Badge reader not answering. Wait a minute; if it stays so, call IT.")
        }
        ReaderState::None => (Weight::Notice, "This device has no badge reader."),
    };
    Some(Sentence::plain(weight, words))
}

fn link(line: &StatusLine) -> Sentence {
    let count = match line.waiting {
        0 => None,
        1 => Some("1 entry".to_owned()),
        n => Some(format!("{} entries", thousands(&n))),
    };
    let age = line.oldest_waiting.filter(|_| line.waiting > 0).map(long);
    match line.link {
        Link::Online if line.sync.slowed => {
            let left = count.map(|count| format!(" {count} to go.")).unwrap_or_default();
            let words = format!(
                "Connected. This device had very many entries to send, so the rest is sent slowly.{left} Nothing is lost."
            );
            Sentence::plain(Weight::Notice, words)
        }
        Link::Online if line.sync.sending.is_some() => Sentence::plain(Weight::Calm, sending(line)),
        Link::Online => Sentence::plain(
            Weight::Calm,
            match (count, age) {
                (None, _) => "Connected. Everything is sent.".to_owned(),
                (Some(count), None) => format!("Connected. Sending {count}."),
                (Some(count), Some(age)) => format!("Connected. Sending {count}, oldest {age}."),
            },
        ),
        Link::Offline { since } => {
            let waiting = match (count, age) {
                (None, _) => "Nothing is waiting.".to_owned(),
                (Some(count), None) => format!("{count} waiting."),
                (Some(count), Some(age)) => format!("{count} waiting, oldest {age}."),
            };
            let (weight, before, call) = match line.sync.distrust {
                Some(whose) => {
                    (Weight::Trouble, not_trusted(whose), format!(" {}.", call(line.phone.as_deref())))
                }
                None => (Weight::Notice, "Internet down", String::new()),
            };
            Sentence {
                weight,
                link: None,
                before: format!("{before} since "),
                at: Some(since),
                after: format!(".{call} You can keep charting. {waiting}"),
            }
        }
    }
}

/// What is in the way; no cable helps against that.
#[must_use]
pub const fn not_trusted(whose: Distrust) -> &'static str {
    match whose {
        Distrust::Theirs => "The server's certificate is not trusted here",
        Distrust::Ours => "The server does not accept this device's certificate",
        Distrust::Stranger => "Something else answers in the server's place",
        Distrust::Blind => {
            "This device cannot use the certificate that it knows its server by (server.ca_file)"
        }
    }
}

pub(crate) fn call(phone: Option<&str>) -> String {
    phone.map_or_else(|| "Call your facility's IT".to_owned(), |phone| format!("Call {phone}"))
}

fn sending(line: &StatusLine) -> String {
    let Some(Sending { sent, total }) = line.sync.sending else { return String::new() };
    format!("Connected. Sending {} of {}.", thousands(&sent), thousands(&total))
}

/// A length of time in a few words.
pub(crate) fn long(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "under 1 min".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, _, _) => "1 day".to_owned(),
        (days, _, _) => format!("{days} days"),
    }
}

/// The day of a moment as it is read in the United States.
pub(crate) fn date(at: Timestamp, zone: &Zone) -> String {
    day::shown(&zone.clock(at).day)
}

#[cfg(test)]
mod tests;
