//! Letting devices in: a device asks, an administrator types the code that it shows, then confirms the number
//! that it shows next. There is no list: a waiting device is visible only to who enters its code.

use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::device::DeviceType;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{EnrollmentId, FacilityId};
use carepost_protocol::text::fold;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, UserCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::merge::in_capitals;
use super::person::Person;
use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::rate_limit::Limit;
use crate::refusal_log::Principal;
use crate::store::{Claim, Device, PresentedKey, StoreError, Waiting};
use crate::text::is_line;
use crate::tls::PeerKey;
use crate::token;

/// How often a key of the lobby may describe itself anew; a new code each ten minutes does not add up.
const CHANGES: Limit = Limit { failures: 20, lock: Duration::from_secs(5 * 60) };
/// Keys that were never seen before, from one network: the devices behind it share them.
const NEW_KEYS: Limit = Limit { failures: 100, lock: Duration::from_secs(15 * 60) };
const NEW_DEVICES: &str = "Too many new devices from this network; those with tokens need not wait";
/// The longest host name there is (RFC 1035, section 2.3.4).
const MAX_HOSTNAME: usize = 253;
/// The longest name of a version.
pub(super) const MAX_VERSION: usize = 64;
/// A MAC address as text: six pairs of digits and five colons.
const MAX_ADDRESS: usize = 17;
/// The most MAC addresses that are kept of a device; a host of many containers may have more.
const MAX_ADDRESSES: usize = 32;
/// Wrong codes from one network, whoever typed them; the store counts them by administrator too.
const BY_NETWORK: Limit = Limit { failures: 20, lock: Duration::from_secs(15 * 60) };

/// A device that shows a code, and what it shall be.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ApproveEnrollment {
    /// The code on its screen.
    pub code: UserCode,
    /// The facility it belongs to.
    #[serde(alias = "facilityId")]
    pub facility_id: FacilityId,
    /// Its name.
    #[serde(alias = "deviceName")]
    pub device_name: String,
    /// What kind of device it is.
    #[serde(alias = "deviceType", deserialize_with = "in_capitals")]
    pub device_type: DeviceType,
}

/// Lets a key in, or says where it stands; refusals are written down.
pub async fn enroll(
    app: &App,
    client: &Client,
    key: &PeerKey,
    mut request: EnrollRequest,
) -> Answer<EnrollResponse> {
    let texts = [
        ("hostname", &*request.hostname, MAX_HOSTNAME),
        ("agent_version", &*request.agent_version, MAX_VERSION),
    ];
    check_lines(&texts, &mut request.mac_addresses)?;
    let answered = place(app, client, key, request).await;
    if let Err(refusal) = &answered
        && !refusal.is_of_the_server()
    {
        let event = client
            .event(AuditEventType::Device, AuditAction::Execute, "enrollment")
            .detail("why", refusal.problem().detail.clone());
        let by = Principal::Stranger(client.network(), None);
        app.refusal_log.keep(&app.store.system(), by, event).await?;
    }
    answered
}

/// Where a key stands. What has to be written for it is bounded, by key and by network.
async fn place(app: &App, client: &Client, key: &PeerKey, request: EnrollRequest) -> Answer<EnrollResponse> {
    let system = app.store.system();
    let network = client.network().map(|network| network.to_string()).unwrap_or_default();
    let presented = PresentedKey { sha256: *key.sha256(), point: key.point().to_vec(), network };
    let token = request.token.as_deref().map(token::sha256);
    if let Some(state) = system.enrollment_state(presented.clone(), request.clone(), token).await? {
        return Ok(state);
    }
    // A token is worth more than a place in the lobby.
    if token.is_none() {
        if system.knows_key(presented.sha256).await? {
            let key = format!("key {}", hex(&presented.sha256));
            app.rate_limiter.take(&key, CHANGES, "This device says something else of itself each time")?;
        } else {
            app.rate_limiter.take(&format!("enroll {}", presented.network), NEW_KEYS, NEW_DEVICES)?;
        }
    }
    Ok(system.enroll(presented, request, token).await?)
}

/// Enters a device's code for it.
pub async fn approve(person: &Person, mut asked: ApproveEnrollment) -> Answer<Waiting> {
    let mut faults = FieldErrors::default();
    faults.name("device_name", &mut asked.device_name, 100);
    faults.check()?;
    let network = person.client.network().map(|it| format!("code {it}")).unwrap_or_default();
    let limiter = &person.app.rate_limiter;
    if let Some(until) = limiter.locked(&network, BY_NETWORK, clock::now()) {
        return Err(Refusal::too_many_tries("Too many wrong codes from this address", until));
    }
    let facility = asked.facility_id;
    let claim = Claim { facility_id: facility, name: asked.device_name, device_type: asked.device_type };
    let audited = person.audited(event(person, "approve").facility(Some(facility)))?;
    let claimed = audited.claim(person.actor().user, asked.code, claim).await;
    if matches!(claimed, Err(StoreError::WrongCode)) {
        limiter.fail(&network, BY_NETWORK, clock::now());
    }
    Ok(claimed?)
}

/// Confirms the number that the device shows: it is let in.
pub async fn confirm(person: &Person, id: EnrollmentId, number: &str) -> Answer<Device> {
    let audited = person.audited(event(person, "confirm").on(id))?;
    Ok(audited.confirm(person.actor().user, id, &fold(number)).await?)
}

fn event(person: &Person, step: &str) -> AuditEvent {
    person.event(AuditEventType::Device, AuditAction::Update, "enrollment").detail("step", step)
}

/// Keeps the first addresses; refuses them, and texts, where something is no line of so many characters.
pub(super) fn check_lines(texts: &[(&str, &str, usize)], addresses: &mut Vec<String>) -> Answer<()> {
    let mut errors = FieldErrors::default();
    for (field, _, most) in texts.iter().filter(|(_, text, most)| !is_line(text, *most)) {
        errors.unless(
            false,
            field,
            &format!("send at most {most} characters, none of them a control character"),
        );
    }
    addresses.truncate(MAX_ADDRESSES);
    for (n, _) in addresses.iter().enumerate().filter(|(_, address)| !is_line(address, MAX_ADDRESS)) {
        errors.unless(false, &format!("mac_addresses[{n}]"), "send it as 02:00:5e:10:00:01");
    }
    errors.check()
}

#[cfg(test)]
mod tests {
    use carepost_protocol::wire::problem::ProblemKind;

    use super::*;
    use crate::rate_limit::RateLimiter;

    #[test]
    fn one_network_brings_a_hundred_new_keys_in_a_while_and_others_are_not_held_up() {
        let limiter = RateLimiter::default();
        let count = |network: &str| limiter.take(network, NEW_KEYS, "Too many");
        for _ in 0..100 {
            count("one").unwrap();
        }
        assert_eq!(count("one").unwrap_err().kind(), Some(ProblemKind::TooManyTries));
        count("other").unwrap();
    }

    #[test]
    fn what_a_device_says_of_itself_is_bounded() {
        let texts = [("hostname", "", MAX_HOSTNAME), ("agent_version", "0.1.0", MAX_VERSION)];
        let mut many = vec!["02:00:5e:10:00:01".to_owned(); 40];
        check_lines(&texts, &mut many).unwrap();
        assert_eq!(many.len(), 32);
        for acts in ["\n", "\u{9b}2J", "\u{202e}"] {
            let version = format!("0.1{acts}");
            assert!(check_lines(&[("agent_version", &version, MAX_VERSION)], &mut many).is_err());
        }
        let long = "h".repeat(254);
        many[1] = long.clone();
        let refused = check_lines(&[("hostname", &long, MAX_HOSTNAME)], &mut many).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::Invalid));
        let named = format!("{refused:?}");
        assert!(named.contains("hostname") && named.contains("mac_addresses[1]"), "{named}");
    }
}
