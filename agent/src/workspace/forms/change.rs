//! The change that a filled-in form makes: its answers as they are stored, with what is doubtful about them.

use std::borrow::Cow;
use std::time::Duration;

use carepost_protocol::change::{Change, ChangeKind, MAX_REASON};
use carepost_protocol::day::Today;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient;
use carepost_protocol::record::Collection;
use carepost_protocol::text::line;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::workflow::{Answers, FieldError};
use serde_json::{Map, Value};

use super::prepare::{Amends, Makes, Prepared};
use super::seen::Seen;
use super::{Forms, settled, storage};
use crate::outbox::Entry;
use crate::workspace::view::{CARRIED, CONFIRMED, DISCHARGED, NotSaved, REASON, SAME, Typed, units_of};

/// Equal entries within this time are looked at.
const AGAIN: Duration = Duration::from_secs(60);
/// So many equal ones are taken without a word. A second press of one form is one entry anyway; two may be
/// meant, as two glasses of water are; a third is asked about, and each one after it.
const EQUAL: usize = 2;
/// What a doubt is about that is about no field: the keys of fields begin with a letter.
const REPEATED: &str = "_again";

impl Forms {
    /// The change that a filled-in form makes; the token names the form.
    pub(super) fn change(
        &self,
        prepared: &Prepared,
        answers: &Typed,
        token: &str,
    ) -> Result<Change, NotSaved> {
        let Makes { kind, collection, record, supersedes, lives_here: _ } = prepared.makes;
        let strikes = prepared.amends == Some(Amends::StrikesOut);
        let stamp = self.reader.clock.stamp();
        let (read, base_seq) = prepared.read(answers, stamp)?;
        let Answers { values: mut fields, doubts } = read;
        let reason = reason(&mut fields)?;
        if collection == Collection::Records && !strikes && fields.values().all(Value::is_null) {
            return Err(nothing_filled_in(prepared));
        }
        // What was rejected may be sent again as it is.
        let differs = prepared.amends == Some(Amends::Corrects) && supersedes.is_none();
        if differs && prepared.leaves_all(&fields) {
            return Err(nothing_changed());
        }
        let unasked = prepared.unasked(answers);
        let (left, mut doubts): (Vec<_>, Vec<_>) = doubts
            .into_iter()
            .partition(|doubt| prepared.leaves(&fields, &doubt.field) && unasked(&doubt.field));
        let charts = collection == Collection::Records;
        let actor = prepared.writer.actor();
        let assignment = self.reader.trail.grant().assignment_id;
        let mut change = Change {
            kind,
            record,
            base_seq,
            patient: prepared.resident.as_ref().map(|resident| resident.id),
            workflow: charts.then(|| prepared.workflow.key.clone()),
            schema_version: charts.then_some(prepared.workflow.version),
            reason,
            entered_in_error: strikes,
            supersedes,
            ..Change::create((actor.user, actor.session), assignment, collection, fields, stamp)
        };
        if charts && kind == ChangeKind::Create {
            doubts.extend(self.repeated(prepared, Entry { change: &change, token })?);
        }
        doubts.extend(prepared.is_about_somebody_gone());
        change.confirmed = confirmed(answers, doubts)?;
        // The server weighs against now as well: a time that has merely passed since is no slip that nobody looked at.
        change.confirmed.extend(left.into_iter().map(|doubt| doubt.field));
        if collection == Collection::Patients {
            change.confirmed.extend(prepared.others(answers));
        }
        Ok(change)
    }

    /// Whether the same was saved again and again just now.
    fn repeated(&self, prepared: &Prepared, entry: Entry<'_>) -> Result<Option<FieldError>, NotSaved> {
        let since = entry.change.recorded_at.before(AGAIN);
        let equal = prepared.writer.equal_since(&self.reader.outbox, entry, since).map_err(storage)?;
        let doubt = || {
            let words = format!(
                "the same entry is already saved {equal} times in the last minute. Save it again only if it happened again"
            );
            FieldError::new(REPEATED, words)
        };
        Ok((equal >= EQUAL).then(doubt))
    }
}

impl Prepared {
    /// That an entry is about somebody who was discharged: the form says it when it is opened, or the save asks.
    pub(super) fn is_about_somebody_gone(&self) -> Option<FieldError> {
        let gone = self.resident.as_ref().filter(|_| self.is_discharged)?;
        let words = format!(
            "{} was discharged and is no longer in the list of residents. Check that this is the right person; a late \
             entry can be saved",
            gone.name
        );
        Some(FieldError::new(DISCHARGED, words))
    }

    /// Whether nobody is asked about an answer that is left as it was: it was confirmed, or no doubt at all when it was
    /// charted, and is one only because time has passed.
    fn unasked(&self, answers: &Typed) -> impl Fn(&str) -> bool {
        let charted_at = self.charted_at.map(|at| (at, ClockQuality::Synced));
        let then = charted_at.and_then(|at| self.read(answers, at).ok()).map(|(then, _)| then.doubts);
        move |key| {
            let is_new = then.as_ref().is_some_and(|then| then.iter().all(|doubt| doubt.field != key));
            is_new || self.confirmed.iter().any(|field| field == key)
        }
    }

    /// Those of whom it was said that somebody is another person: an admission that was rejected asks nobody again.
    fn others(&self, answers: &Typed) -> Vec<String> {
        let said = || answers.iter().filter(|(key, _)| key == CONFIRMED).map(|(_, text)| text);
        let before = self.confirmed.iter().filter(|_| self.makes.kind == ChangeKind::Create);
        let named = said().chain(before).filter_map(|text| Change::another_than(text));
        let may_be = |id: &PatientId| {
            said().any(|text| text.strip_prefix(SAME).is_some_and(|named| named.contains(&id.to_string())))
        };
        named.filter(|id| !may_be(id)).map(Change::another).collect()
    }

    /// What was typed, as it is stored, and the version that an edit is against.
    fn read(
        &self,
        answers: &Typed,
        (now, quality): (Timestamp, ClockQuality),
    ) -> Result<(Answers, Option<u64>), NotSaved> {
        let (zone, units, today) = (&self.zone, units_of(answers), Today::of(Some(&self.zone), now));
        let asked = answers.iter().filter(|(key, _)| key != CONFIRMED && !CARRIED.contains(&key.as_str()));
        let (asked, wrong_times) = settled(zone, &self.workflow, &self.filled, asked);
        let meant: Vec<(&str, Cow<'_, str>)> =
            asked.iter().map(|(key, text)| (*key, self.meant(key, text, units))).collect();
        let typed: Vec<(&str, &str)> = meant.iter().map(|(key, text)| (*key, text.as_ref())).collect();
        if (self.makes.collection, self.makes.kind) == (Collection::Patients, ChangeKind::Patch) {
            return self.edited(answers, &typed, today);
        }
        let read = self.workflow.parse_form(typed.iter().copied(), units, quality.believed(now));
        let read = with_faults(read, wrong_times);
        let is_admission = self.makes.collection == Collection::Patients;
        let read = if is_admission { resident(read, &typed, today) } else { read };
        Ok((read.map_err(NotSaved::Answers)?, None))
    }

    /// What was changed about a resident, what was emptied as null. What was left as it was shown is not looked
    /// at again: a value of before that would be taken no more stands in nobody's way.
    fn edited(
        &self,
        answers: &Typed,
        typed: &[(&str, &str)],
        today: Today,
    ) -> Result<(Answers, Option<u64>), NotSaved> {
        let not_whole = || NotSaved::NotTaken("this form is not whole: open it again".to_owned());
        let seen = Seen::in_answers(answers).ok_or_else(not_whole)?;
        let shown = seen.typed(&self.workflow);
        let was =
            |key: &str| shown.iter().find(|(name, _)| name == key).map_or("", |(_, text)| text.as_str());
        let (mut given, mut faults) = (Map::new(), Vec::new());
        for (key, text) in typed.iter().filter(|(key, text)| was(key) != *text) {
            let field = self.workflow.fields.iter().find(|field| field.key == *key).ok_or_else(not_whole)?;
            match field.parse(text) {
                Ok(value) => drop(given.insert((*key).to_owned(), value)),
                Err(fault) => faults.push(fault),
            }
        }
        let mut values = match patient::read(&given, today) {
            Ok((values, _)) => values,
            Err(more) => {
                faults.extend(more);
                Map::new()
            }
        };
        if !faults.is_empty() {
            return Err(NotSaved::Answers(faults));
        }
        values.extend(self.makes.lives_here.map(|lives| ("is_active".to_owned(), Value::from(lives))));
        for value in values.values_mut().filter(|value| *value == "") {
            *value = Value::Null;
        }
        values.retain(|key, value| seen.values.get(key) != Some(value));
        if values.is_empty() {
            return Err(nothing_changed());
        }
        let doubts = patient::doubts(&values, &seen.values, today);
        Ok((Answers { values, doubts }, seen.base))
    }
}

fn nothing_filled_in(prepared: &Prepared) -> NotSaved {
    let instead = match (&prepared.amends, prepared.makes.supersedes) {
        (Some(Amends::Corrects), None) => "to take the entry out, go back and press Charted in error",
        (Some(Amends::PutsBack(_)), None) => {
            "answer at least one question, or go back: the entry stays struck out"
        }
        (_, _) => "answer at least one question, or go back without saving",
    };
    NotSaved::NotTaken(format!("nothing is filled in: {instead}"))
}

fn nothing_changed() -> NotSaved {
    NotSaved::NotTaken("nothing was changed: change what is wrong, or go back without saving".to_owned())
}

/// Takes the reason out of what a form asked for.
fn reason(fields: &mut Map<String, Value>) -> Result<Option<String>, NotSaved> {
    let given = fields.remove(REASON);
    let read = given.as_ref().and_then(Value::as_str).map(|text| line(text, MAX_REASON)).transpose();
    read.map_err(|error| NotSaved::Answers(vec![FieldError::new(REASON, error.to_string())]))
}

/// Answers of which these are wrong besides.
fn with_faults(
    read: Result<Answers, Vec<FieldError>>,
    more: Vec<FieldError>,
) -> Result<Answers, Vec<FieldError>> {
    match read {
        Ok(answers) if more.is_empty() => Ok(answers),
        Ok(_) => Err(more),
        Err(faults) => Err(faults.into_iter().chain(more).collect()),
    }
}

/// A resident's fields as they are stored and what is doubtful about them, or all that is wrong with them at once.
fn resident(
    read: Result<Answers, Vec<FieldError>>,
    typed: &[(&str, &str)],
    today: Today,
) -> Result<Answers, Vec<FieldError>> {
    let (mut values, mut faults) = match read {
        Ok(answers) => (answers.values, Vec::new()),
        Err(faults) => {
            let is_faulty = |key: &str| faults.iter().any(|fault| fault.field == key);
            let rest = typed.iter().filter(|(key, _)| !is_faulty(key));
            (rest.map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect(), faults)
        }
    };
    match patient::read(&values, today) {
        Ok((read, _)) => values = read,
        Err(more) => faults.extend(more),
    }
    let doubts = patient::doubts(&values, &Map::new(), today);
    if faults.is_empty() { Ok(Answers { values, doubts }) } else { Err(faults) }
}

/// The fields of what was doubtful and confirmed; an answer that was changed since is asked about again.
fn confirmed(answers: &Typed, doubts: Vec<FieldError>) -> Result<Vec<String>, NotSaved> {
    let is_confirmed =
        |doubt: &FieldError| answers.iter().any(|(key, text)| key == CONFIRMED && *text == doubt.to_string());
    if doubts.iter().all(is_confirmed) {
        let fields = doubts.into_iter().map(|doubt| doubt.field);
        Ok(fields.filter(|field| !field.starts_with('_')).collect())
    } else {
        Err(NotSaved::Doubts(doubts))
    }
}
