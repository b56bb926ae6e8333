//! Reviews: what somebody has to decide. Devices close them; the office reads them here.

use carepost_protocol::id::FacilityId;
use carepost_protocol::record::ReviewDocument;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{List, Paged};
use crate::error::Answer;
use crate::http::extract::{Id, Params};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::operations::reviews;

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Openness {
    /// The open ones, or the closed ones; all unless given.
    open: Option<bool>,
}

/// A facility's reviews, those first in which something changed last (`latest`), by pages.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}/reviews", operation_id = "list_reviews", tag = "changes", security(("session" = [])), params(("facility_id" = FacilityId, Path), Openness, Which), responses((status = 200, body = List<ReviewDocument>)))]
pub async fn list_reviews(
    person: Person,
    Id(facility): Id<FacilityId>,
    Params(Openness { open }): Params<Openness>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<ReviewDocument>>> {
    asked.page(reviews::list(&person, facility, open, &which).await?, std::convert::identity)
}
