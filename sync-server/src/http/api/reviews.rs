//! Reviews: what somebody has to decide. Devices close them; the office reads them here.

use carepost_protocol::id::FacilityId;
use carepost_protocol::record::ReviewDocument;
use serde::Deserialize;
use utoipa::IntoParams;

use super::List;
use crate::error::Answer;
use crate::http::extract::{Id, Params};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::operations::reviews;

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Openness {
    /// The open ones, or the closed ones; all unless given.
    open: Option<bool>,
    /// By which of its keys, which its description names; `-` before one is from the last on.
    sort: Option<String>,
    /// The next page: `next` of the one before, as it is.
    page: Option<String>,
    /// At most so many; 200 unless given, 1,000 at most.
    limit: Option<usize>,
}

/// A facility's reviews, those first in which something changed last (`latest`), by pages.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}/reviews", operation_id = "list_reviews", tag = "changes", security(("session" = [])), params(("facility_id" = FacilityId, Path), Openness), responses((status = 200, body = List<ReviewDocument>)))]
pub async fn list_reviews(
    person: Person,
    Id(facility): Id<FacilityId>,
    Params(Openness { open, sort, page, limit }): Params<Openness>,
) -> Answer<axum::Json<List<ReviewDocument>>> {
    let found = reviews::list(&person, facility, open, &Which { sort, page, limit }).await?;
    List::page(found, std::convert::identity)
}
