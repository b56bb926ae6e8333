//! Organizations (S1-37 to S1-40, S3-44).

use age::x25519::Identity;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{OrganizationId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::text::{fold, odd_digit, plain, sort_key};
use carepost_protocol::workflow::FieldError;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::merge::{Merge, given, in_capitals};
use super::paging::{Key, Page, Which};
use super::person::Person;
use super::users;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::password::check_password;
use crate::store::{
    NewOrganization, NewUser, Organization, OrganizationPatch, OrganizationType, SortKeys, Version, Versioned,
};

/// An address, in part or whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Street and number.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub street: Merge<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub city: Merge<String>,
    /// State.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub state: Merge<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub zip: Merge<String>,
    /// Country.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub country: Merge<String>,
}

impl Address {
    /// Brings its lines into the form in which they are stored.
    pub(super) fn check(&mut self, faults: &mut FieldErrors) {
        for (field, line) in [
            ("address.street", &mut self.street),
            ("address.city", &mut self.city),
            ("address.state", &mut self.state),
            ("address.zip", &mut self.zip),
            ("address.country", &mut self.country),
        ] {
            faults.maybe_text(field, line.value_mut(), 200);
        }
    }
}

/// Whom to reach, in part or whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Contact {
    /// Telephone.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub phone: Merge<String>,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Merge::is_absent")]
    #[schema(value_type = Option<String>)]
    pub email: Merge<String>,
}

/// A new organization, and its first administrator.
#[derive(Deserialize, ToSchema)]
pub struct CreateOrganization {
    /// Its name.
    pub name: String,
    /// Another organization is called so as well: it is so, and no slip.
    #[serde(default)]
    pub same_name: bool,
    /// Its name in addresses; made from the name unless given.
    #[serde(default)]
    pub slug: Option<String>,
    /// What kind of operator it is.
    #[serde(
        default = "multi_site",
        rename = "type",
        alias = "organization_type",
        alias = "organizationType",
        deserialize_with = "in_capitals"
    )]
    pub organization_type: OrganizationType,
    /// Its National Provider Identifier: ten digits.
    #[serde(default)]
    pub npi: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub address: Option<Address>,
    /// Whom to reach.
    #[serde(default, alias = "contactInfo", alias = "contact_info")]
    pub contact: Option<Contact>,
    /// Its first administrator; unless given, one named `admin` is made with a password of the
    /// server's choosing (S0-34).
    #[serde(default)]
    pub admin: Option<FirstAdmin>,
}

const fn multi_site() -> OrganizationType {
    OrganizationType::MultiSiteSystem
}

/// An organization's first administrator.
#[derive(Deserialize, ToSchema)]
pub struct FirstAdmin {
    /// The name to sign in with.
    pub username: String,
    /// The name people see.
    #[serde(default, alias = "displayName")]
    pub display_name: Option<String>,
    /// The address.
    #[serde(default)]
    pub email: Option<String>,
    /// The password.
    #[schema(value_type = String)]
    pub password: SecretString,
}

/// What changes of an organization; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateOrganization {
    /// Its name.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    /// Another organization is called so as well: it is so, and no slip.
    #[serde(default)]
    pub same_name: bool,
    /// What kind of operator it is.
    #[serde(
        default,
        rename = "type",
        alias = "organization_type",
        alias = "organizationType",
        deserialize_with = "in_capitals"
    )]
    #[schema(value_type = OrganizationType)]
    pub organization_type: Option<OrganizationType>,
    /// Its National Provider Identifier.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub npi: Merge<String>,
    /// Where it is.
    #[serde(default)]
    #[schema(value_type = Option<Address>)]
    pub address: Merge<Address>,
    /// Whom to reach.
    #[serde(default, alias = "contactInfo", alias = "contact_info")]
    #[schema(value_type = Option<Contact>)]
    pub contact: Merge<Contact>,
}

/// An organization that was just created, with what is shown only now.
pub struct Founded {
    pub organization: Organization,
    /// The secret half of its recovery key, which nobody keeps.
    pub recovery_key: SecretString,
    pub admin: UserId,
    pub username: String,
    /// The password, where the server chose it.
    pub password: Option<String>,
}

impl Versioned for Founded {
    fn version(&self) -> Version {
        self.organization.version()
    }
}

/// What their list may be sorted by.
const SORTED_BY: &SortKeys<Key<Organization>> =
    &[("name", |it| sort_key(&it.name)), ("created_at", |it| it.created_at.to_string())];

/// The organizations the asker sees, by pages: all for the platform's administrators, else the own one.
pub async fn list(person: &Person, which: Which) -> Answer<Page<Organization>> {
    let found = if person.actor().role == Role::PlatformAdmin {
        person.app.store.system().organizations().await?
    } else {
        vec![person.registry()?.organization().await?]
    };
    which.of(found, |it| it.id.to_string(), SORTED_BY)
}

/// Creates an organization, its first administrator and its recovery key in one step.
pub async fn create(person: &Person, asked: CreateOrganization) -> Answer<Founded> {
    let (identity, same_name) = (Identity::generate(), asked.same_name);
    let (new, admin, password) = founding(asked, &identity)?;
    if !same_name {
        ask_about_name(person, None, &new.name).await?;
    }
    let (app, username) = (&person.app, admin.username.clone());
    let admin = NewUser {
        facility_id: None,
        display_name: admin.display_name.unwrap_or_else(|| username.clone()),
        username: admin.username,
        email: admin.email,
        role: Role::OrgAdmin,
        employee_id: None,
        session_timeout_minutes: 30,
        password_hash: Some(app.passwords.hash(person.caller(), admin.password).await?),
        pin_verifier: None,
    };
    let event = event(person, AuditAction::Create);
    let (organization, admin) = person.system().create_organization(new, admin, event).await?;
    Ok(Founded { organization, recovery_key: identity.to_string(), admin, username, password })
}

pub async fn show(person: &Person, id: OrganizationId) -> Answer<Organization> {
    Ok(person.registry_of(Some(id)).await?.organization().await?)
}

pub async fn update(person: &Person, id: OrganizationId, asked: UpdateOrganization) -> Answer<Organization> {
    let registry = person.registry_of(Some(id)).await?;
    let same_name = asked.same_name;
    let patch = OrganizationPatch::try_from(asked)?;
    let mut event = event(person, AuditAction::Update);
    if let Some(name) = &patch.name {
        if !same_name {
            ask_about_name(person, Some(id), name).await?;
        }
        event = event.detail("name", name.as_str());
    }
    Ok(person.audited_in(&registry, event).update_organization(patch).await?)
}

/// A name that another organization has is asked about, where whoever gives it sees all of them. What its own is called
/// already stands.
async fn ask_about_name(person: &Person, own: Option<OrganizationId>, name: &str) -> Answer<()> {
    if person.actor().role != Role::PlatformAdmin {
        return Ok(());
    }
    let mut called_so = person.app.store.system().organizations().await?;
    called_so.retain(|it| fold(&it.name) == fold(name));
    match called_so.first() {
        Some(other) if called_so.iter().all(|it| Some(it.id) != own) => {
            let words = format!(
                "the organization {} is called so: give another name, or say that it is so (`same_name`)",
                other.slug
            );
            Err(Refusal::field("name", words))
        }
        Some(_) | None => Ok(()),
    }
}

/// What is doubtful about an NPI, if anything. The check digit is Luhn's over the number with 80840 before it. A
/// wrong one is doubtful but accepted: numbers of examples and trial systems fail it (S1-03).
#[must_use]
pub fn npi_warning(npi: &str) -> Option<FieldError> {
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

impl TryFrom<UpdateOrganization> for OrganizationPatch {
    type Error = Refusal;
    fn try_from(mut asked: UpdateOrganization) -> Answer<Self> {
        let mut faults = FieldErrors::default();
        faults.maybe_name("name", asked.name.as_mut(), 200);
        check_npi(&mut faults, asked.npi.value_mut());
        reach(&mut faults, asked.address.value_mut(), asked.contact.value_mut());
        faults.check()?;
        Ok(Self {
            name: asked.name,
            organization_type: asked.organization_type,
            npi: asked.npi.change(),
            address: asked.address.change().map(json).transpose()?,
            contact: asked.contact.change().map(json).transpose()?,
        })
    }
}

impl FirstAdmin {
    fn check(&mut self, faults: &mut FieldErrors) {
        let names = ["admin.username", "admin.display_name"];
        users::names(faults, names, &mut self.username, self.display_name.as_mut());
        faults.maybe_text("admin.email", self.email.as_mut(), 254);
        if let Err(fault) = check_password(self.password.expose_secret()) {
            faults.unless(false, "admin.password", fault);
        }
    }
}

/// The organization, its first administrator, and the password where the server chose it.
fn founding(
    mut asked: CreateOrganization,
    identity: &Identity,
) -> Answer<(NewOrganization, FirstAdmin, Option<String>)> {
    let mut faults = FieldErrors::default();
    faults.name("name", &mut asked.name, 200);
    let slug = asked.slug.as_deref().map_or_else(|| slug_of(&asked.name), fold);
    let rule = if asked.slug.is_some() { SLUG_RULE } else { NO_SLUG };
    faults.unless(is_slug(&slug), "slug", rule);
    check_npi(&mut faults, asked.npi.as_mut());
    reach(&mut faults, asked.address.as_mut(), asked.contact.as_mut());
    let (mut admin, password) = asked.admin.map_or_else(chosen_admin, |admin| (admin, None));
    admin.check(&mut faults);
    faults.check()?;
    let new = NewOrganization {
        name: asked.name,
        slug,
        organization_type: asked.organization_type,
        npi: asked.npi,
        address: json(asked.address)?,
        contact: json(asked.contact)?,
        recovery_recipient: identity.to_public().to_string(),
    };
    Ok((new, admin, password))
}

/// The administrator where none is given, and the password that the server chose.
fn chosen_admin() -> (FirstAdmin, Option<String>) {
    let password = hex(&clock::random::<12>());
    let secret = SecretString::from(password.clone());
    let username = "admin".to_owned();
    (FirstAdmin { username, display_name: None, email: None, password: secret }, Some(password))
}

/// Brings where an organization is, and whom to reach, into form.
fn reach(faults: &mut FieldErrors, address: Option<&mut Address>, contact: Option<&mut Contact>) {
    if let Some(address) = address {
        address.check(faults);
    }
    if let Some(Contact { phone, email }) = contact {
        faults.maybe_text("contact.phone", phone.value_mut(), 50);
        faults.maybe_text("contact.email", email.value_mut(), 254);
    }
}

fn event(person: &Person, action: AuditAction) -> AuditEvent {
    person.event(AuditEventType::ApiAccess, action, "organization")
}

pub(super) fn json(value: Option<impl Serialize>) -> Answer<Option<Value>> {
    value.map(|value| serde_json::to_value(value).map_err(|fault| Refusal::internal(&fault))).transpose()
}

const SLUG_RULE: &str =
    "a slug is 2 to 63 lower-case letters, digits and hyphens, with a letter or digit at each end";
const NO_SLUG: &str = "none can be made of this name: give one (`slug`) of 2 to 63 lower-case letters, digits and \
    hyphens, such as golden-years";
const NPI_RULE: &str = "an NPI has ten digits";

fn is_slug(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (2..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn slug_of(name: &str) -> String {
    let name = plain(name);
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    slug.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

/// Brings an NPI into form: a pasted one has blanks around it, or other digits.
fn check_npi(faults: &mut FieldErrors, npi: Option<&mut String>) {
    let Some(npi) = npi else { return };
    let is_read = odd_digit(npi).is_none();
    *npi = fold(npi);
    let is_npi = npi.len() == 10 && npi.bytes().all(|byte| byte.is_ascii_digit());
    faults.unless(is_read && is_npi, "npi", NPI_RULE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_of_an_npi_warns_and_does_not_refuse() {
        assert_eq!(npi_warning("1234567893"), None);
        assert_eq!(npi_warning("1234567890").unwrap().field, "npi");
    }

    #[test]
    fn an_npi_is_ten_digits_however_it_is_pasted() {
        let checked = |text: &str| {
            let (mut faults, mut npi) = (FieldErrors::default(), text.to_owned());
            check_npi(&mut faults, Some(&mut npi));
            faults.check().ok().map(|()| npi)
        };
        for pasted in ["1234567890", " 1234567890\n", "１２３４５６７８９０"] {
            assert_eq!(checked(pasted).as_deref(), Some("1234567890"), "{pasted}");
        }
        for wrong in ["123456789", "12345678a0", "12345678²0", ""] {
            assert_eq!(checked(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_slug_can_be_made_of_most_names() {
        assert_eq!(slug_of("Golden Years ALF - Riverside"), "golden-years-alf-riverside");
        assert_eq!(slug_of("Résidence Élan"), "residence-elan");
        assert!(is_slug(&slug_of("Golden Years, Inc.")));
        assert!(!is_slug(&slug_of("???")));
        assert!(!is_slug("-a") && !is_slug("A b") && !is_slug("a"));
    }
}
