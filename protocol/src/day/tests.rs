//! Days and times as people type them.

use super::*;

#[test]
fn a_birthday_is_kept_as_far_as_it_is_known() {
    let today = Today::of(Some(&Zone::UTC), "2026-11-28T12:00:00Z".parse().unwrap());
    for (given, kept) in [
        ("1944-02-29", "1944-02-29"),
        ("02/29/1944", "1944-02-29"),
        (" 3/5/1941 ", "1941-03-05"),
        ("1941", "1941"),
        ("1941-03", "1941-03"),
        ("3/1941", "1941-03"),
        ("１９４１", "1941"),
        ("١٩٤١–٠٣–١٥", "1941-03-15"),
        ("2026-11", "2026-11"),
        ("2026-11-28", "2026-11-28"),
        ("1896", "1896"),
        ("3-15-1941", "1941-03-15"),
        ("3.15.1941", "1941-03-15"),
        ("12.15.1941", "1941-12-15"),
        ("03 15 1941", "1941-03-15"),
        ("1941/03/15", "1941-03-15"),
        ("March 15, 1941", "1941-03-15"),
        ("Jan 1, 1930", "1930-01-01"),
        ("15 Mar 1941", "1941-03-15"),
        ("Sept. 3 1941", "1941-09-03"),
        ("15-MAY-1941", "1941-05-15"),
        ("March 1941", "1941-03"),
        ("03-1941", "1941-03"),
    ] {
        assert_eq!(birthday(given, today).as_deref(), Ok(kept), "{given}");
        assert_eq!(birthday(&shown(kept), today).as_deref(), Ok(kept), "as pages show it: {kept}");
    }
    for wrong in [
        "2099-01-01",
        "2026-11-29",
        "2026-12",
        "2027",
        "0000-01-01",
        "1066-10-14",
        "1895-12-31",
        "1945-02-29",
        "1941-13",
        "41",
        "03/41",
        "yesterday",
        "",
        "1941-03-15-1",
        "194¹",
        "0③/15/1941",
        "03151941",
        "3.15.41",
        "3-15/1941",
        "15-03-1941",
        "15 03 1941",
        "03.04.1941",
        "3-4-1941",
        "03 04 1941",
        "Ma 15, 1941",
        "March 15",
        "March 15, 41",
        "15 3 March 1941",
        "March 15 16 1941",
        "3/+5/1941",
        "003/5/1941",
    ] {
        assert!(birthday(wrong, today).is_err(), "{wrong}");
    }
    for short in ["41", "03/41", "41-03", "3.15.41", "41-3-15", "March 41", "March 15, 41"] {
        assert_eq!(birthday(short, today).unwrap_err(), BIRTHDAY_RULE, "a year has four digits: {short}");
    }
}

#[test]
fn a_time_is_read_however_it_is_written_and_a_half_typed_one_says_what_is_missing() {
    for (given, kept) in [
        ("05/01/2026 14:30", "2026-05-01T14:30"),
        ("5/1/2026  1430", "2026-05-01T14:30"),
        ("05/01/2026 0230 PM", "2026-05-01T14:30"),
        ("05/01/2026 2:30pm", "2026-05-01T14:30"),
        ("2026-05-01T14:30-05:00", "2026-05-01T14:30-05:00"),
        ("May 1, 2026 14:30", "2026-05-01T14:30"),
        ("May 1, 2026, 2:30 PM", "2026-05-01T14:30"),
        ("1 Oct 2026 1430", "2026-10-01T14:30"),
        ("September 1 2026 14:30 -05:00", "2026-09-01T14:30-05:00"),
        ("05 15 2026 14:30", "2026-05-15T14:30"),
        ("2026 05 15T14:30", "2026-05-15T14:30"),
        ("05/01/26 14:30", "2026-05-01T14:30"),
        ("5/1/2026 7pm", "2026-05-01T19:00"),
        ("05/01/2026 12 a.m.", "2026-05-01T00:00"),
    ] {
        assert_eq!(parse_datetime(given).as_deref(), Ok(kept), "{given}");
    }
    for half in [
        "05/01/2026",
        "2026-05-01T",
        "05/01/2026 14",
        "05/01/2026 14:",
        "05/01/2026 143",
        "05/01/2026 PM",
        "October 1, 2026",
        "Oct 1 2026 14",
    ] {
        assert_eq!(parse_datetime(half), Err(DayError::NoSuch(TIME_RULE.to_owned())), "{half}");
    }
    for half in ["", "05/", "05/01", "05-01-26 14:30", "14:30", "1430", "now", "Oct 14:30", "Oct 2026 14:30"]
    {
        assert_eq!(parse_datetime(half), Err(DayError::Unread), "{half}");
    }
    let none = Err(DayError::NoSuch(NO_SUCH_TIME.to_owned()));
    assert_eq!(parse_datetime("05/01/2026 2560"), none);
    assert_eq!(parse_datetime("05/01/2026 13pm"), none);
}

#[test]
fn a_time_that_is_typed_alone_is_todays_on_the_facilitys_wall() {
    let (chicago, now) = (Zone::named("America/Chicago").unwrap(), "2026-05-02T03:10:00Z".parse().unwrap());
    for (typed, taken) in [
        ("now", Ok("2026-05-01T22:10-05:00")),
        (" NOW ", Ok("2026-05-01T22:10-05:00")),
        ("14:30", Ok("2026-05-01T14:30")),
        ("2:30 pm", Ok("2026-05-01T14:30")),
        ("7pm", Ok("2026-05-01T19:00")),
        ("0230 PM", Ok("2026-05-01T14:30")),
        ("11/30/26 10:00", Ok("2026-11-30T10:00")),
        ("11/30/2026 7pm", Ok("2026-11-30T19:00")),
        ("2026-05-01T14:30", Ok("2026-05-01T14:30")),
        ("1430", Err(DayError::Unread)),
        ("14", Err(DayError::Unread)),
        ("25:00", Err(DayError::Unread)),
        ("pm", Err(DayError::Unread)),
        ("noon", Err(DayError::Unread)),
    ] {
        assert_eq!(typed_datetime(typed, &chicago, now).as_deref(), taken.as_ref().copied(), "{typed}");
    }
}

#[test]
fn a_day_that_there_is_not_is_said_as_such() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    for (given, words) in [
        ("02/29/2023", "February 2023 has 28 days: check the day"),
        ("1941-04-31", "April 1941 has 30 days: check the day"),
        ("1941-04-0", "April 1941 has 30 days: check the day"),
        ("13/01/1950", "there is no month 13: give month/day/year"),
        ("15/1950", "there is no month 15: give month/year"),
        ("1950-00-01", "there is no month 0: give year-month-day"),
        ("1950-13", "there is no month 13: give year-month"),
        ("15.03.1950", BIRTHDAY_RULE),
        ("15-03-1950", BIRTHDAY_RULE),
        ("Feb 30, 1950", "February 1950 has 28 days: check the day"),
        ("03.04.1941", "is this 03/04/1941 or 04/03/1941? Type the one that is meant, the month first"),
        ("4-3-1941", "is this 04/03/1941 or 03/04/1941? Type the one that is meant, the month first"),
    ] {
        assert_eq!(birthday(given, today), Err(words.to_owned()));
    }
}

#[test]
fn a_day_of_a_form_is_taken_as_a_birthday_is_and_is_whole() {
    for given in ["2026-05-01", "5/1/2026", "2026/5/1", "May 1, 2026", "1 May 2026"] {
        assert_eq!(parse_date(given).as_deref(), Ok("2026-05-01"), "{given}");
    }
    for part in ["2026", "2026-05", "May 2026"] {
        assert_eq!(parse_date(part), Err(DayError::Unread), "{part}");
    }
    for either in ["5-1-2026", "5.1.2026", "05 01 2026"] {
        let words = "is this 05/01/2026 or 01/05/2026? Type the one that is meant, the month first";
        assert_eq!(parse_date(either), Err(DayError::NoSuch(words.to_owned())));
        assert_eq!(parse_datetime(&format!("{either} 14:30")), parse_date(either));
    }
    for one in ["5-5-2026", "05.05.2026"] {
        assert_eq!(parse_date(one).as_deref(), Ok("2026-05-05"));
    }
    assert_eq!(parse_datetime("5-15-2026 2:30 PM").as_deref(), Ok("2026-05-15T14:30"));
}

#[test]
fn today_is_the_facilitys_day_or_the_latest_on_earth() {
    let noon: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
    for (zone, latest) in [
        (Some("America/Chicago"), "2026-11-28"),
        (Some("Pacific/Kiritimati"), "2026-11-29"),
        (Some("Etc/GMT+12"), "2026-11-28"),
        (None, "2026-11-29"),
    ] {
        let zone = zone.map(|name| Zone::named(name).unwrap());
        assert_eq!(stored(Today::of(zone.as_ref(), noon).0), latest, "{zone:?}");
        let morning = "2026-11-28T09:59:59Z".parse().unwrap();
        let expected = if latest.ends_with("29") { "2026-11-28" } else { "2026-11-27" };
        if zone.as_ref().and_then(Zone::name) != Some("America/Chicago") {
            assert_eq!(stored(Today::of(zone.as_ref(), morning).0), expected, "{zone:?}");
        }
    }
    let [first, last] = [i64::MIN, i64::MAX].map(|at| Today::of(None, Timestamp::from_millis(at)));
    assert_ne!(first, last);
}

#[test]
fn birthdays_that_are_known_in_part_do_not_contradict() {
    assert!(may_be_one("1941", "1941-03-15") && may_be_one("1941-03-15", "1941-03"));
    assert!(!may_be_one("1941-04", "1941-03-15") && !may_be_one("1942", "1941"));
}

#[test]
fn day_and_month_changed_round_may_be_one_birthday() {
    assert!(may_be_one("1941-03-04", "1941-04-03") && may_be_one("1941-04-03", "1941-03-04"));
    assert!(!may_be_one("1941-03-04", "1942-04-03") && !may_be_one("1941-03-15", "1941-05-13"));
    assert_eq!(turned("1941-03-04").as_deref(), Some("1941-04-03"));
    for alone in ["1941-03-15", "1941-03-03", "1941-03", "1941", "1066", ""] {
        assert_eq!(turned(alone), None, "{alone}");
    }
}

#[test]
fn a_child_and_whoever_would_be_older_than_anybody_is_are_unlikely() {
    let today = Today::of(Some(&Zone::UTC), "2026-11-28T12:00:00Z".parse().unwrap());
    for (stored, words) in [
        ("2026-11-28", "date of birth 11/28/2026 is less than a year ago: check the year"),
        ("2026", "date of birth 2026 is less than a year ago: check the year"),
        ("2025-11-28", "date of birth 11/28/2025 makes the resident 1 year old: check the year"),
        ("2008-11-29", "date of birth 11/29/2008 makes the resident 17 years old: check the year"),
        ("1915-11", "date of birth 11/1915 makes the resident 111 years old: check the year"),
    ] {
        assert_eq!(unlikely_birthday(stored, today).as_deref(), Some(words));
    }
    for likely in ["2008-11-28", "2008", "2008-11", "1941-03-15", "1941", "1915-11-29", "1915-12"] {
        assert_eq!(unlikely_birthday(likely, today), None, "{likely}");
    }
}
