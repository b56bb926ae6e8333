//! The pages of what needs a person: what the server rejected, and what is to be decided.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::id::{PatientId, ReviewId};

use super::form::{Person, save_with};
use super::shell::{Shell, answer, capital, status_of_save};
use super::words::Weight;
use crate::workspace::view::{
    Answered, BASE, CONFIRMED, Join, Known, Mark, NotSaved, Part, Question, Rejected, Review, Todo,
};

#[derive(Template)]
#[template(path = "rejected.html")]
struct RejectedPage {
    shell: Shell,
    entries: Vec<Rejected>,
    /// After how many the next page begins.
    next: Option<usize>,
}

pub(crate) fn rejected(shell: Shell, mut part: Part<Rejected>) -> Response {
    part.items.iter_mut().flat_map(|entry| &mut entry.why).for_each(|words| *words = capital(words));
    answer(StatusCode::OK, &RejectedPage { shell, entries: part.items, next: part.next })
}

#[derive(Template)]
#[template(path = "reviews.html")]
struct ReviewsPage {
    shell: Shell,
    reviews: Vec<Review>,
    /// After how many the next page begins.
    next: Option<usize>,
    not_saved: Option<String>,
    saved: bool,
    /// What was chosen in a review that was not saved.
    chosen: Option<(ReviewId, Vec<(String, String)>)>,
}

impl ReviewsPage {
    /// Whether a value was chosen, of the version that is shown.
    fn is_chosen(&self, review: &Review, field: &str, at: &usize) -> bool {
        let sent = self.chosen.as_ref().filter(|(id, _)| *id == review.id);
        let says = |key: &str, text: &str| {
            sent.is_some_and(|(_, sent)| sent.iter().any(|(name, said)| name == key && said == text))
        };
        says(BASE, &review.base.to_string()) && says(field, &at.to_string())
    }
}

/// Why a review was not saved, which, and what was chosen in it.
pub(crate) type RefusedReview = (NotSaved, ReviewId, Vec<(String, String)>);

/// The page keeps what is chosen on it, so it does not follow changes by itself.
pub(crate) fn reviews(
    shell: Shell,
    part: Part<Review>,
    refused: Option<RefusedReview>,
    saved: bool,
) -> Response {
    let (why, chosen) = refused.map(|(why, id, sent)| (why, (id, sent))).unzip();
    let why = why.as_ref();
    let status = why.map_or(StatusCode::OK, status_of_save);
    let not_saved = why.map(|why| match why {
        NotSaved::Answers(faults) | NotSaved::Doubts(faults) => {
            faults.iter().map(|fault| capital(&fault.detail)).collect::<Vec<_>>().join(". ")
        }
        NotSaved::Alike(_)
        | NotSaved::CorrectedSince
        | NotSaved::Refused(_)
        | NotSaved::NotTaken(_)
        | NotSaved::Storage(_)
        | NotSaved::Uncertain(_) => capital(&why.to_string()),
    });
    let (shell, mut reviews) = (shell.held(), part.items);
    for review in &mut reviews {
        // Whoever saved a value stands first beside it.
        if let Question::Conflict(fields) = &mut review.question {
            let values = fields.iter_mut().flat_map(|field| &mut field.values);
            values.for_each(|value| value.by = capital(&value.by));
        }
    }
    answer(status, &ReviewsPage { shell, reviews, next: part.next, not_saved, saved, chosen })
}

/// What two residents have of a field.
struct Row {
    label: &'static str,
    last: String,
    other: String,
}

impl Row {
    fn differs(&self) -> bool {
        self.last != self.other
    }
}

#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage {
    shell: Shell,
    id: ReviewId,
    base: u64,
    token: String,
    /// Who it may be, as the review names them.
    other: PatientId,
    rows: Vec<Row>,
    stays: Person,
}

/// The page keeps its question, so it does not follow changes by itself.
pub(crate) fn join(shell: Shell, join: &Join) -> Response {
    let (last, other) = (Person::of(&join.last), Person::of(&join.other));
    let row = |label, of: fn(&Person) -> String| Row { label, last: of(&last), other: of(&other) };
    let mut rows = vec![
        row("Name", |person| person.name.clone()),
        row("Born", |person| known(person.born.as_deref())),
        row("Room", |person| person.room.clone().unwrap_or_else(|| "None".to_owned())),
        row("In care", |person| if person.is_active { "Yes" } else { "Discharged" }.to_owned()),
    ];
    let numbers = last.numbers.iter().zip(&other.numbers).map(|((label, last), (_, other))| Row {
        label,
        last: known(last.as_deref()),
        other: known(other.as_deref()),
    });
    rows.splice(2..2, numbers);
    let page = JoinPage {
        shell: shell.held(),
        id: join.review.id,
        base: join.review.base,
        token: join.review.token.clone(),
        other: join.other.id,
        rows,
        stays: if join.last_stays { last } else { other },
    };
    answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "number.html")]
struct NumberPage {
    shell: Shell,
    id: ReviewId,
    token: String,
    /// What was chosen, as the review's form sent it.
    answers: Vec<(String, String)>,
    /// Who has a number that was chosen.
    alike: Vec<Known>,
    /// What the button says that saves it all the same.
    another: String,
}

/// A decision that gives a resident a number which is another's: nothing is saved, and the page asks.
pub(crate) fn number(
    shell: Shell,
    id: ReviewId,
    token: String,
    mut answers: Vec<(String, String)>,
    alike: Vec<Known>,
) -> Response {
    let another = save_with(&alike);
    let asked = alike.iter().flat_map(|known| known.answers(false));
    answers.extend(asked.map(|text| (CONFIRMED.to_owned(), text)));
    let page = NumberPage { shell: shell.held(), id, token, answers, alike, another };
    answer(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

fn known(text: Option<&str>) -> String {
    text.unwrap_or("Not known").to_owned()
}
