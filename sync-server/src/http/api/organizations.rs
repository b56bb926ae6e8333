//! Organizations (S1-37 to S1-40, S3-44).

use age::x25519::Identity;
use axum::extract::State;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{OrganizationId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use carepost_protocol::workflow::FieldError;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::List;
use crate::app::App;
use crate::clock;
use crate::error::{Answer, Faults, Refusal};
use crate::http::body::{Id, Json};
use crate::operations::person::Person;
use crate::password::check_password;
use crate::store::{NewOrganization, NewUser, Organization, OrganizationPatch, OrganizationType};

/// An address, in part or whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Street and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    street: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    /// State.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zip: Option<String>,
    /// Country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

impl Address {
    /// Brings its lines into the form in which they are stored.
    pub(super) fn check(&mut self, faults: &mut Faults) {
        for (field, line) in [
            ("address.street", &mut self.street),
            ("address.city", &mut self.city),
            ("address.state", &mut self.state),
            ("address.zip", &mut self.zip),
            ("address.country", &mut self.country),
        ] {
            faults.maybe_text(field, line.as_mut(), 200);
        }
    }
}

/// Whom to reach, in part or whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Telephone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// A new organization, and its first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// Its name.
    name: String,
    /// Its name in addresses; made from the name unless given.
    #[serde(default)]
    slug: Option<String>,
    /// What kind of operator it is.
    #[serde(
        default = "multi_site",
        rename = "type",
        alias = "organization_type",
        alias = "organizationType"
    )]
    organization_type: OrganizationType,
    /// Its National Provider Identifier: ten digits.
    #[serde(default)]
    npi: Option<String>,
    /// Where it is.
    #[serde(default)]
    address: Option<Address>,
    /// Whom to reach.
    #[serde(default, alias = "contactInfo", alias = "contact_info")]
    contact: Option<Contact>,
    /// Its first administrator; unless given, one named `admin` is made with a password of the
    /// server's choosing (S0-34).
    #[serde(default)]
    admin: Option<FirstAdmin>,
}

const fn multi_site() -> OrganizationType {
    OrganizationType::MultiSiteSystem
}

/// An organization's first administrator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstAdmin {
    /// The name to sign in with.
    username: String,
    /// The name people see.
    #[serde(default, alias = "displayName")]
    display_name: Option<String>,
    /// The address.
    #[serde(default)]
    email: Option<String>,
    /// The password.
    #[schema(value_type = String)]
    password: SecretString,
}

/// What changes of an organization; what is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrganization {
    /// Its name.
    #[serde(default)]
    name: Option<String>,
    /// What kind of operator it is.
    #[serde(default, rename = "type", alias = "organization_type", alias = "organizationType")]
    organization_type: Option<OrganizationType>,
    /// Its National Provider Identifier.
    #[serde(default)]
    npi: Option<String>,
    /// Where it is.
    #[serde(default)]
    address: Option<Address>,
    /// Whom to reach.
    #[serde(default, alias = "contactInfo", alias = "contact_info")]
    contact: Option<Contact>,
}

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationView {
    /// The organization.
    id: OrganizationId,
    /// Its name.
    name: String,
    /// Its name in addresses.
    slug: String,
    /// What kind of operator it is.
    #[serde(rename = "type")]
    organization_type: OrganizationType,
    /// Its National Provider Identifier.
    npi: Option<String>,
    /// Where it is.
    #[schema(value_type = Option<Address>)]
    address: Option<Value>,
    /// Whom to reach.
    #[schema(value_type = Option<Contact>)]
    contact: Option<Value>,
    /// The public half of its recovery key.
    recovery_recipient: String,
    /// When it was created.
    created_at: Timestamp,
    /// When it was last changed.
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
    /// The organization.
    #[serde(flatten)]
    organization: OrganizationView,
    /// The secret half of its recovery key. The server does not keep it: print it, lock it away.
    recovery_key: String,
    /// Its first administrator.
    admin: CreatedAdmin,
}

/// The first administrator of an organization that was just created.
#[derive(Serialize, ToSchema)]
pub struct CreatedAdmin {
    /// The user.
    id: UserId,
    /// The name to sign in with.
    username: String,
    /// The password, where the server chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// The organizations the asker sees: all for the platform's administrators, else the own one.
#[utoipa::path(get, path = "/api/v1/organizations", operation_id = "list_organizations", tag = "organizations", security(("session" = [])), responses((status = 200, body = List<OrganizationView>)))]
pub async fn list_organizations(
    State(app): State<App>,
    person: Person,
) -> Answer<axum::Json<List<OrganizationView>>> {
    let found = if person.actor().role == Role::PlatformAdmin {
        app.store.system().organizations().await?
    } else {
        vec![person.registry()?.organization().await?]
    };
    Ok(axum::Json(List::of(found, OrganizationView::from)))
}

/// Creates an organization, its first administrator and its recovery key in one step.
#[utoipa::path(post, path = "/api/v1/organizations", operation_id = "create_organization", tag = "organizations", security(("session" = [])), request_body = CreateOrganization, responses((status = 201, body = CreatedOrganization)))]
pub async fn create_organization(
    State(app): State<App>,
    person: Person,
    Json(mut asked): Json<CreateOrganization>,
) -> Answer<(StatusCode, axum::Json<CreatedOrganization>)> {
    let mut faults = Faults::default();
    faults.text("name", &mut asked.name, 200);
    let slug = asked.slug.clone().unwrap_or_else(|| slug_of(&asked.name));
    faults.unless(is_slug(&slug), "slug", SLUG_RULE);
    faults.unless(asked.npi.as_deref().is_none_or(is_npi), "npi", NPI_RULE);
    let (mut admin, chosen) = match asked.admin {
        Some(admin) => (admin, None),
        None => {
            let password = hex(&clock::random::<12>());
            let secret = SecretString::from(password.clone());
            let admin = FirstAdmin {
                username: "admin".to_owned(),
                display_name: None,
                email: None,
                password: secret,
            };
            (admin, Some(password))
        }
    };
    faults.text("admin.username", &mut admin.username, 100);
    faults.maybe_text("admin.display_name", admin.display_name.as_mut(), 200);
    faults.maybe_text("admin.email", admin.email.as_mut(), 254);
    if let Err(fault) = check_password(admin.password.expose_secret()) {
        faults.unless(false, "admin.password", fault);
    }
    faults.check()?;
    let identity = Identity::generate();
    let new = NewOrganization {
        name: asked.name,
        slug,
        organization_type: asked.organization_type,
        npi: asked.npi,
        address: json(asked.address)?,
        contact: json(asked.contact)?,
        recovery_recipient: identity.to_public().to_string(),
    };
    let username = admin.username.clone();
    let password_hash = app.passwords.hash(person.caller(), admin.password).await?;
    let admin = NewUser {
        facility_id: None,
        display_name: admin.display_name.unwrap_or_else(|| username.clone()),
        username: admin.username,
        email: admin.email,
        role: Role::OrgAdmin,
        employee_id: None,
        session_timeout_minutes: 30,
        password_hash: Some(password_hash),
        pin_verifier: None,
    };
    let note = person.note(AuditEventType::ApiAccess, AuditAction::Create, "organization").into_event();
    let (organization, id) = app.store.system().create_organization(new, admin, note).await?;
    let created = CreatedOrganization {
        organization: organization.into(),
        recovery_key: identity.to_string().expose_secret().to_owned(),
        admin: CreatedAdmin { id, username, password: chosen },
    };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// One organization.
#[utoipa::path(get, path = "/api/v1/organizations/{organization_id}", operation_id = "show_organization", tag = "organizations", security(("session" = [])), params(("organization_id" = OrganizationId, Path)), responses((status = 200, body = OrganizationView)))]
pub async fn show_organization(
    person: Person,
    Id(id): Id<OrganizationId>,
) -> Answer<axum::Json<OrganizationView>> {
    Ok(axum::Json(person.registry_of(Some(id)).await?.organization().await?.into()))
}

/// Changes an organization.
#[utoipa::path(put, path = "/api/v1/organizations/{organization_id}", operation_id = "update_organization", tag = "organizations", security(("session" = [])), params(("organization_id" = OrganizationId, Path)), request_body = UpdateOrganization, responses((status = 200, body = OrganizationView)))]
pub async fn update_organization(
    person: Person,
    Id(id): Id<OrganizationId>,
    Json(mut asked): Json<UpdateOrganization>,
) -> Answer<axum::Json<OrganizationView>> {
    let registry = person.registry_of(Some(id)).await?;
    let mut faults = Faults::default();
    faults.maybe_text("name", asked.name.as_mut(), 200);
    faults.unless(asked.npi.as_deref().is_none_or(is_npi), "npi", NPI_RULE);
    faults.check()?;
    let patch = OrganizationPatch {
        name: asked.name,
        organization_type: asked.organization_type,
        npi: asked.npi,
        address: json(asked.address)?,
        contact: json(asked.contact)?,
    };
    let note = person.note(AuditEventType::ApiAccess, AuditAction::Update, "organization");
    let organization = registry.noting(note.into_event()).update_organization(patch).await?;
    Ok(axum::Json(organization.into()))
}

pub(super) fn json(value: Option<impl Serialize>) -> Answer<Option<Value>> {
    value.map(|value| serde_json::to_value(value).map_err(|fault| Refusal::internal(&fault))).transpose()
}

const SLUG_RULE: &str =
    "a slug is 2 to 63 lower-case letters, digits and hyphens, with a letter or digit at each end";
const NPI_RULE: &str = "an NPI has ten digits";

fn is_slug(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (2..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn slug_of(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    slug.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

fn is_npi(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The check digit is Luhn's over the number with 80840 before it. A wrong one is doubtful but
/// accepted: numbers of examples and trial systems fail it (S1-03).
fn npi_warning(npi: &str) -> Option<FieldError> {
    let digits = "80840".bytes().chain(npi.bytes()).rev().map(|byte| u32::from(byte.saturating_sub(b'0')));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    (!sum.is_multiple_of(10)).then(|| FieldError {
        field: "npi".to_owned(),
        detail: "the check digit does not match: compare it with the NPI registry".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_an_npi_warns_and_does_not_refuse() {
        assert_eq!(npi_warning("1234567893"), None);
        assert_eq!(npi_warning("1234567890").unwrap().field, "npi");
        assert!(is_npi("1234567890"));
        assert!(!is_npi("123456789") && !is_npi("12345678a0"));
    }

    #[test]
    fn a_slug_can_be_made_of_most_names() {
        assert_eq!(slug_of("Golden Years ALF - Riverside"), "golden-years-alf-riverside");
        assert!(is_slug(&slug_of("Golden Years, Inc.")));
        assert!(!is_slug(&slug_of("???")));
        assert!(!is_slug("-a") && !is_slug("A b") && !is_slug("a"));
    }
}
