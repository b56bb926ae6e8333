//! Organizations (S1-37 to S1-40, S3-44).

use carepost_protocol::id::{OrganizationId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::workflow::FieldError;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{List, Paged, Tagged};
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::operations::organizations::{
    self, Address, Contact, CreateOrganization, Founded, UpdateOrganization, npi_warning,
};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::{Organization, OrganizationType};

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationView {
    id: OrganizationId,
    name: String,
    /// Its name in addresses and at sign-in, of 2 to 63 lower-case letters, digits and hyphens; it never changes.
    slug: String,
    #[serde(rename = "type")]
    organization_type: OrganizationType,
    /// Its National Provider Identifier, of ten digits.
    npi: Option<String>,
    #[schema(value_type = Option<Address>)]
    address: Option<Value>,
    #[schema(value_type = Option<Contact>)]
    contact: Option<Value>,
    /// The public half of its recovery key: the secret one was shown once, when the organization was created.
    recovery_recipient: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// What is doubtful, though accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<FieldError>,
}

impl From<Organization> for OrganizationView {
    fn from(it: Organization) -> Self {
        Self {
            warnings: it.npi.as_deref().and_then(npi_warning).into_iter().collect(),
            id: it.id,
            name: it.name,
            slug: it.slug,
            organization_type: it.organization_type,
            npi: it.npi,
            address: it.address,
            contact: it.contact,
            recovery_recipient: it.recovery_recipient,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

/// An organization that was just created, with what is shown only now.
#[derive(Serialize, ToSchema)]
pub struct CreatedOrganization {
    #[serde(flatten)]
    organization: OrganizationView,
    /// The secret half of its recovery key. The server does not keep it: print it, lock it away.
    recovery_key: String,
    admin: CreatedAdmin,
}

/// The first administrator of an organization that was just created.
#[derive(Serialize, ToSchema)]
pub struct CreatedAdmin {
    id: UserId,
    username: String,
    /// The password, where the server chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl From<Founded> for CreatedOrganization {
    fn from(it: Founded) -> Self {
        Self {
            organization: it.organization.into(),
            recovery_key: it.recovery_key.expose_secret().to_owned(),
            admin: CreatedAdmin { id: it.admin, username: it.username, password: it.password },
        }
    }
}

/// The organizations the asker sees, by `name` or `created_at`, by pages: all for the platform's administrators, else the own one.
#[utoipa::path(get, path = "/api/v1/organizations", operation_id = "list_organizations", tag = "organizations", security(("session" = [])), params(Which), responses((status = 200, body = List<OrganizationView>)))]
pub async fn list_organizations(
    person: Person,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<OrganizationView>>> {
    asked.page(organizations::list(&person, which).await?, OrganizationView::from)
}

/// Creates an organization, its first administrator and its recovery key in one step.
#[utoipa::path(post, path = "/api/v1/organizations", operation_id = "create_organization", tag = "organizations", security(("session" = [])), request_body = CreateOrganization, responses((status = 201, body = CreatedOrganization)))]
pub async fn create_organization(
    person: Person,
    Json(asked, _share): Json<CreateOrganization>,
) -> Answer<(StatusCode, Tagged<CreatedOrganization>)> {
    let founded = organizations::create(&person, asked).await?;
    Ok((StatusCode::CREATED, Tagged::of(founded, CreatedOrganization::from)))
}

/// One organization.
#[utoipa::path(get, path = "/api/v1/organizations/{organization_id}", operation_id = "show_organization", tag = "organizations", security(("session" = [])), params(("organization_id" = OrganizationId, Path)), responses((status = 200, body = OrganizationView)))]
pub async fn show_organization(
    person: Person,
    Id(id): Id<OrganizationId>,
) -> Answer<Tagged<OrganizationView>> {
    Ok(Tagged::of(organizations::show(&person, id).await?, OrganizationView::from))
}

/// Changes an organization.
#[utoipa::path(put, path = "/api/v1/organizations/{organization_id}", operation_id = "update_organization", tag = "organizations", security(("session" = [])), params(("organization_id" = OrganizationId, Path)), request_body = UpdateOrganization, responses((status = 200, body = OrganizationView)))]
pub async fn update_organization(
    person: Person,
    Id(id): Id<OrganizationId>,
    Json(asked, _share): Json<UpdateOrganization>,
) -> Answer<Tagged<OrganizationView>> {
    Ok(Tagged::of(organizations::update(&person, id, asked).await?, OrganizationView::from))
}
