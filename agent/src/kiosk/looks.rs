//! The pages of what needs a person: what the server refused, and what is to be decided.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::id::ReviewId;
use carepost_protocol::record::PatientDocument;
use carepost_protocol::time::Timestamp;

use super::form::{Alike, Person};
use super::page::{Shell, answer, capital};
use super::residents::EntryView;
use super::words::Weight;
use crate::desk::Answer;
use crate::desk::view::{Attention, Disputed, Join, Known, Mark, Part, Question, Review, Todo};

/// A refused change as it is listed.
struct AttentionView {
    n: u64,
    what: String,
    /// A link to the resident's page, and the name.
    resident: Option<(String, String)>,
    at: Timestamp,
    author: String,
    answers: Vec<Answer>,
    why: Vec<String>,
    todo: Todo,
}

#[derive(Template)]
#[template(path = "attention.html")]
struct AttentionPage {
    shell: Shell,
    entries: Vec<AttentionView>,
    /// After how many the next page begins.
    next: Option<usize>,
}

pub(super) fn attention(shell: Shell, part: Part<Attention>) -> Response {
    let entries = part.items.into_iter().map(|entry| AttentionView {
        n: entry.n,
        what: entry.what,
        resident: entry.resident.map(|resident| (resident.id.to_string(), resident.name)),
        at: entry.at,
        author: entry.author,
        answers: entry.answers,
        why: entry.why.iter().map(|words| capital(words)).collect(),
        todo: entry.todo,
    });
    answer(StatusCode::OK, &AttentionPage { shell, entries: entries.collect(), next: part.next })
}

/// A review as it is listed.
struct ReviewView {
    id: String,
    base: u64,
    token: String,
    resident: Option<(String, String)>,
    opened: Timestamp,
    question: QuestionView,
    more: u64,
}

enum QuestionView {
    Conflict(Vec<DisputedView>),
    /// Whoever was admitted last, who it may be, and those of them who have one number.
    Duplicate(Option<Person>, Vec<(String, Person)>, Vec<(String, String)>),
    Amendments(Vec<EntryView>),
    Unknown,
}

struct DisputedView {
    key: String,
    label: String,
    values: Vec<SavedView>,
    more: u64,
}

struct SavedView {
    words: String,
    by: String,
    at: Timestamp,
    stands: bool,
}

#[derive(Template)]
#[template(path = "reviews.html")]
struct ReviewsPage {
    shell: Shell,
    reviews: Vec<ReviewView>,
    /// After how many the next page begins.
    next: Option<usize>,
    not_saved: Option<String>,
    saved: bool,
}

/// The page keeps what is chosen on it, so it does not follow changes by itself.
pub(super) fn reviews(
    status: StatusCode,
    shell: Shell,
    part: Part<Review>,
    not_saved: Option<String>,
    saved: bool,
) -> Response {
    let reviews = part.items.into_iter().map(|review| ReviewView {
        id: review.id.to_string(),
        base: review.base,
        token: review.token,
        resident: review.resident.as_ref().map(|resident| (resident.id.to_string(), resident.name.clone())),
        opened: review.opened_at,
        more: review.more,
        question: match review.question {
            Question::Conflict(fields) => {
                QuestionView::Conflict(fields.into_iter().map(DisputedView::from).collect())
            }
            Question::Duplicate(others) => {
                let last = review.resident.as_ref();
                let numbered = last.map(|last| of_one_number(last, &others)).unwrap_or_default();
                let others = others.iter().map(|known| &known.resident);
                let others = others.map(|other| (other.id.to_string(), Person::from(other)));
                QuestionView::Duplicate(last.map(Person::from), others.collect(), numbered)
            }
            Question::Amendments(versions) => {
                QuestionView::Amendments(versions.into_iter().map(EntryView::from).collect())
            }
            Question::Unknown => QuestionView::Unknown,
        },
    });
    let reviews = reviews.collect();
    answer(status, &ReviewsPage { shell: shell.held(), reviews, next: part.next, not_saved, saved })
}

/// Somebody and whoever has the same number: nobody where nobody has.
fn of_one_number(last: &PatientDocument, others: &[Known]) -> Vec<(String, String)> {
    let others = others.iter().filter(|known| known.has_same_number).map(|known| &known.resident);
    let others: Vec<&PatientDocument> = others.collect();
    let last = (!others.is_empty()).then_some(last);
    last.into_iter().chain(others).map(|one| (one.id.to_string(), one.name.clone())).collect()
}

/// What two residents have of a field.
struct Beside {
    label: &'static str,
    last: String,
    other: String,
}

impl Beside {
    fn differs(&self) -> bool {
        self.last != self.other
    }
}

#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage {
    shell: Shell,
    id: String,
    base: u64,
    token: String,
    /// Who it may be, as the review names them.
    other: String,
    rows: Vec<Beside>,
    stays: Person,
}

/// The page keeps its question, so it does not follow changes by itself.
pub(super) fn join(shell: Shell, join: &Join) -> Response {
    let (last, other) = (Person::from(&join.last), Person::from(&join.other));
    let row = |label, of: fn(&Person) -> String| Beside { label, last: of(&last), other: of(&other) };
    let mut rows = vec![
        row("Name", |person| person.name.clone()),
        row("Born", |person| known(person.born.as_deref())),
        row("Room", |person| person.room.clone().unwrap_or_else(|| "None".to_owned())),
        row("In care", |person| if person.is_active { "Yes" } else { "Discharged" }.to_owned()),
    ];
    let numbers = last.numbers.iter().zip(&other.numbers).map(|((label, last), (_, other))| Beside {
        label,
        last: known(last.as_deref()),
        other: known(other.as_deref()),
    });
    rows.splice(2..2, numbers);
    let page = JoinPage {
        shell: shell.held(),
        id: join.review.id.to_string(),
        base: join.review.base,
        token: join.review.token.clone(),
        other: join.other.id.to_string(),
        rows,
        stays: if join.last_stays { last } else { other },
    };
    answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "number.html")]
struct NumberPage {
    shell: Shell,
    id: String,
    token: String,
    /// What was chosen, as the review's form sent it.
    answers: Vec<(String, String)>,
    /// Who has the number that was chosen.
    alike: Vec<Alike>,
}

/// A decision that gives a resident a number which is another's: nothing is saved, and the page asks.
pub(super) fn number(
    shell: Shell,
    id: ReviewId,
    token: String,
    answers: Vec<(String, String)>,
    known: &[Known],
) -> Response {
    let (id, alike) = (id.to_string(), known.iter().map(Alike::from).collect());
    let page = NumberPage { shell: shell.held(), id, token, answers, alike };
    answer(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

fn known(text: Option<&str>) -> String {
    text.unwrap_or("Not known").to_owned()
}

impl From<Disputed> for DisputedView {
    fn from(field: Disputed) -> Self {
        let values = field.values.into_iter().map(|saved| SavedView {
            words: saved.words,
            by: saved.by,
            at: saved.at,
            stands: saved.stands,
        });
        Self { key: field.key, label: field.label, values: values.collect(), more: field.more }
    }
}
