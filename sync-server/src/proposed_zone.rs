//! The proposed time zone: the one that a facility is probably in, by its address; proposed, and never set.

use carepost_protocol::text::fold;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// The IANA name of the zone that most people of the state live in.
    pub zone: &'static str,
    pub state: &'static str,
    /// Whether all of the state is in it.
    pub is_whole: bool,
}

/// The proposal for a state of the United States, by its name or code; none elsewhere.
#[must_use]
pub fn proposed(state: &str, country: Option<&str>) -> Option<Proposal> {
    const HERE: [&str; 5] = ["us", "usa", "u.s.", "united states", "united states of america"];
    if country.is_some_and(|country| !HERE.contains(&fold(country).as_str())) {
        return None;
    }
    let given = fold(state);
    let found = STATES.iter().find(|(code, name, ..)| fold(code) == given || fold(name) == given);
    found.map(|(state, _, zone, is_whole)| Proposal { zone, state, is_whole: *is_whole })
}

/// Code, name, the zone of most of its people, and whether that is the only one.
const STATES: &[(&str, &str, &str, bool)] = &[
    ("AK", "Alaska", "America/Anchorage", false),
    ("AL", "Alabama", "America/Chicago", true),
    ("AR", "Arkansas", "America/Chicago", true),
    ("AS", "American Samoa", "Pacific/Pago_Pago", true),
    ("AZ", "Arizona", "America/Phoenix", false),
    ("CA", "California", "America/Los_Angeles", true),
    ("CO", "Colorado", "America/Denver", true),
    ("CT", "Connecticut", "America/New_York", true),
    ("DC", "District of Columbia", "America/New_York", true),
    ("DE", "Delaware", "America/New_York", true),
    ("FL", "Florida", "America/New_York", false),
    ("GA", "Georgia", "America/New_York", true),
    ("GU", "Guam", "Pacific/Guam", true),
    ("HI", "Hawaii", "Pacific/Honolulu", true),
    ("IA", "Iowa", "America/Chicago", true),
    ("ID", "Idaho", "America/Boise", false),
    ("IL", "Illinois", "America/Chicago", true),
    ("IN", "Indiana", "America/Indiana/Indianapolis", false),
    ("KS", "Kansas", "America/Chicago", false),
    ("KY", "Kentucky", "America/New_York", false),
    ("LA", "Louisiana", "America/Chicago", true),
    ("MA", "Massachusetts", "America/New_York", true),
    ("MD", "Maryland", "America/New_York", true),
    ("ME", "Maine", "America/New_York", true),
    ("MI", "Michigan", "America/Detroit", false),
    ("MN", "Minnesota", "America/Chicago", true),
    ("MO", "Missouri", "America/Chicago", true),
    ("MP", "Northern Mariana Islands", "Pacific/Guam", true),
    ("MS", "Mississippi", "America/Chicago", true),
    ("MT", "Montana", "America/Denver", true),
    ("NC", "North Carolina", "America/New_York", true),
    ("ND", "North Dakota", "America/Chicago", false),
    ("NE", "Nebraska", "America/Chicago", false),
    ("NH", "New Hampshire", "America/New_York", true),
    ("NJ", "New Jersey", "America/New_York", true),
    ("NM", "New Mexico", "America/Denver", true),
    ("NV", "Nevada", "America/Los_Angeles", false),
    ("NY", "New York", "America/New_York", true),
    ("OH", "Ohio", "America/New_York", true),
    ("OK", "Oklahoma", "America/Chicago", true),
    ("OR", "Oregon", "America/Los_Angeles", false),
    ("PA", "Pennsylvania", "America/New_York", true),
    ("PR", "Puerto Rico", "America/Puerto_Rico", true),
    ("RI", "Rhode Island", "America/New_York", true),
    ("SC", "South Carolina", "America/New_York", true),
    ("SD", "South Dakota", "America/Chicago", false),
    ("TN", "Tennessee", "America/Chicago", false),
    ("TX", "Texas", "America/Chicago", false),
    ("UT", "Utah", "America/Denver", true),
    ("VA", "Virginia", "America/New_York", true),
    ("VI", "Virgin Islands", "America/Puerto_Rico", true),
    ("VT", "Vermont", "America/New_York", true),
    ("WA", "Washington", "America/Los_Angeles", true),
    ("WI", "Wisconsin", "America/Chicago", true),
    ("WV", "West Virginia", "America/New_York", true),
    ("WY", "Wyoming", "America/Denver", true),
];

#[cfg(test)]
mod tests {
    use carepost_protocol::zone::Zone;

    use super::*;

    #[test]
    fn every_proposal_can_be_set() {
        for (state, name, zone, _) in STATES {
            assert_eq!(Zone::named(zone).as_ref().and_then(Zone::name), Some(*zone), "{state}");
            assert_eq!(proposed(name, None), proposed(state, Some("USA")));
        }
    }

    #[test]
    fn a_state_with_several_zones_has_that_of_most_people_to_be_checked() {
        let zone = |state| proposed(state, None).map(|it| (it.zone, it.is_whole));
        assert_eq!(zone(" il "), Some(("America/Chicago", true)));
        assert_eq!(zone("Texas"), Some(("America/Chicago", false)));
        assert_eq!(zone("Tennessee"), Some(("America/Chicago", false)));
        assert_eq!(zone("Bavaria"), None);
        assert_eq!(proposed("CA", Some("Canada")), None);
    }
}
