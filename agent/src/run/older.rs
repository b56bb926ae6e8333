//! Older entries: asks the server for them, one question after another.

use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::ProblemKind;
use serde_json::value::RawValue;

use super::shared::Shared;
use crate::upstream::UpstreamError;
use crate::workspace::view::Missed;

/// Answers what the kiosk asks, until it is dropped.
pub(super) async fn run(Shared { workspace, upstream, .. }: Shared) {
    loop {
        let mut question = workspace.until_asked().await;
        let (patient, query) = (question.patient, OlderQuery::after(question.after));
        let answer = tokio::select! {
            biased;
            () = question.given_up() => continue,
            answer = upstream.older_records(patient, &query) => answer,
        };
        question.answer(answer.or_else(missed));
    }
}

fn missed(fault: UpstreamError) -> Result<OlderRecords<Box<RawValue>>, Missed> {
    // Somebody who was admitted here a moment ago has no older entries there.
    if fault.problem() == Some(ProblemKind::NotFound) {
        return Ok(OlderRecords::default());
    }
    tracing::warn!(error = %fault, "older entries were not shown");
    Err(match fault {
        UpstreamError::Transport(_)
        | UpstreamError::NotTrusted(_)
        | UpstreamError::NotAccepted(_)
        | UpstreamError::Stranger(_) => Missed::Offline,
        UpstreamError::Refused(problem, _) => Missed::NotShown(problem.detail),
        UpstreamError::Nonsense(_) | UpstreamError::SetUp(_) => Missed::NotShown("call IT".to_owned()),
    })
}
