use proptest::prelude::*;

use super::*;

#[test]
fn every_letter_folds_to_what_stays_as_it_is() {
    for letter in '\0'..=char::MAX {
        let letter = letter.to_string();
        let folded = fold(&letter);
        assert!(folded == letter || fold(&folded) == folded, "{letter:?}");
    }
    assert_eq!(fold("STRAẞE"), fold("Strasse"));
}

#[test]
fn a_count_has_a_comma_before_each_three_digits_and_none_in_front() {
    let read = [0, 999, 1_000, 123_456, 1_234_567].map(|count| thousands(&count));
    assert_eq!(read, ["0", "999", "1,000", "123,456", "1,234,567"]);
}

#[test]
fn a_note_keeps_its_lines_whatever_ends_them() {
    let of = |text| lines(text, 100).unwrap();
    assert_eq!(of("Slept well.\r\nAte half."), "Slept well.\nAte half.");
    assert_eq!(of("Slept well.\rAte half.\u{2028}Walked."), "Slept well.\nAte half.\nWalked.");
    assert_eq!(of("  one\r\n\r\ntwo\u{b}three\u{0}\tfour \n\n"), "one\n\ntwo three \tfour");
    assert_eq!(of(" \r\n\t "), "");
}

#[test]
fn a_line_has_single_blanks_and_none_outside() {
    let of = |text| line(text, 100).unwrap();
    for mrn in ["RS-1 ", " RS-1", "RS-1\u{a0}", "\u{feff}RS-1", "RS-1\r\n", "RS\u{ad}-1\u{200b}"] {
        assert_eq!(of(mrn), "RS-1", "{mrn:?}");
    }
    assert_eq!(of("Ada\t\tde\u{2003}Example\n"), "Ada de Example");
    assert_eq!(of("\u{202a}+1 555 0100\u{202c}"), "+1 555 0100");
    assert_eq!(of("Jose\u{301}"), "José");
    assert_eq!(of("👩\u{200d}⚕\u{fe0f}"), "👩\u{200d}⚕\u{fe0f}");
}

#[test]
fn what_nobody_can_read_is_refused_and_counts_by_characters() {
    for text in ["\u{200b}", "\u{3164}\u{2800}", " \u{200d} ", "\u{e0041}"] {
        assert_eq!(line(text, 9), Err(TextError::Invisible), "{text:?}");
        assert_eq!(lines(text, 9), Err(TextError::Invisible), "{text:?}");
    }
    assert_eq!(line("a\u{202e}b", 9), Err(TextError::Override));
    assert_eq!(lines("a\u{202d}b", 9), Err(TextError::Override));
    assert_eq!(line("äöüäöü", 6).unwrap(), "äöüäöü");
    assert_eq!(line("äöüäöüx", 6), Err(TextError::TooLong(7, 6)));
    let long = lines(&"a".repeat(2_143), 2_000).unwrap_err().to_string();
    assert_eq!(long, "this is 2,143 characters long: give at most 2,000 characters");
    // What is brought into form first may fit then.
    assert_eq!(line("  a\u{308}  b ", 3).unwrap(), "ä b");
}

#[test]
fn a_name_has_a_letter_or_a_digit() {
    for text in ["---", "...", "'", "🙂", "( )"] {
        assert_eq!(name(text, 9), Err(TextError::Signs), "{text}");
    }
    for (text, taken) in [(" O’B ", "O’B"), ("3", "3"), ("李", "李"), ("", ""), (" ", "")] {
        assert_eq!(name(text, 9).as_deref(), Ok(taken), "{text}");
    }
    assert_eq!(name("\u{200b}", 9), Err(TextError::Invisible));
}

#[test]
fn a_persons_name_has_a_letter() {
    for text in ["12345", "٣", "---", "3-4", "🙂"] {
        assert_eq!(person_name(text, 9), Err(TextError::NoLetter), "{text}");
    }
    for (text, taken) in [(" O’B ", "O’B"), ("X3", "X3"), ("李", "李"), ("", ""), (" ", "")] {
        assert_eq!(person_name(text, 9).as_deref(), Ok(taken), "{text}");
    }
    assert_eq!(person_name("\u{200b}", 9), Err(TextError::Invisible));
}

#[test]
fn what_is_read_as_digits_and_is_none_is_found() {
    for (text, odd) in
        [("5²", '²'), ("10⁵", '⁵'), ("x₂", '₂'), ("①", '①'), ("⑫", '⑫'), ("⒈5", '⒈'), ("5½", '½')]
    {
        assert_eq!(odd_digit(text), Some(odd), "{text}");
    }
    for text in ["52", "５２", "٥٢", "५२", "𝟓𝟐", "Ⅷ", "℉", "five"] {
        assert_eq!(odd_digit(text), None, "{text}");
    }
}

#[test]
fn case_width_and_blanks_make_no_difference_and_accents_do() {
    for (one, other) in [
        ("Ada  EXAMPLE", "ada example "),
        ("ＲＳ－１", "rs-1"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("Ada\u{200d}", "ada"),
        ("Jose\u{301}", "JOSÉ"),
        ("O’Brien", "o'brien"),
        ("OʼBrien", "o`brien"),
        ("o´brien", "O＇Brien"),
        ("RS–1", "rs-1"),
        ("RS—1", "RS−1"),
        ("RS\u{2011}١٢٣", "rs-123"),
        ("room ७", "Room 7"),
    ] {
        assert_eq!(fold(one), fold(other), "{one} {other}");
    }
    assert_ne!(fold("José"), fold("Jose"));
    assert_eq!(plain("João O’Brien‑Łuk"), "joao obrien-luk");
    assert_eq!(plain("-(“St. Ann’s”) 1/2 -"), "st anns 1 2");
    for (letters, without) in [
        ("Bjørn Ærø", "bjorn aero"),
        ("Đặng Guðrún", "dang gudrun"),
        ("Yıldız", "yildiz"),
        ("Œuf Þór", "oeuf thor"),
    ] {
        assert_eq!(plain(letters), without);
    }
}

#[test]
fn what_is_found_begins_as_its_words_do_apart_or_run_together() {
    let names = [
        "Sean O’Dwyer",
        "Pat O'Brien",
        "Claire d´Été",
        "Anne–Marie Obrien",
        "Jan van den Berg",
        "C. J. Łuk",
        "Mary “Molly” Smith",
        "RS_1",
        "A+12",
    ];
    for (sought, found) in [
        ("dwyer", &["Sean O’Dwyer"][..]),
        ("o`dw", &["Sean O’Dwyer"]),
        ("brien", &["Pat O'Brien"]),
        ("OBRIEN", &["Pat O'Brien", "Anne–Marie Obrien"]),
        ("O Brien", &["Pat O'Brien", "Anne–Marie Obrien"]),
        ("oʼbrien", &["Pat O'Brien", "Anne–Marie Obrien"]),
        ("brien, pat", &["Pat O'Brien"]),
        ("ete", &["Claire d´Été"]),
        ("d'été", &["Claire d´Été"]),
        ("annemarie", &["Anne–Marie Obrien"]),
        ("o brien anne marie", &["Anne–Marie Obrien"]),
        ("vandenberg", &["Jan van den Berg"]),
        ("cj luk", &["C. J. Łuk"]),
        ("rien", &[]),
        ("marie anna", &[]),
        ("", &[]),
        (" -,.'", &[]),
        ("%", &[]),
        ("🙂", &[]),
        ("<c>", &["Claire d´Été", "C. J. Łuk"]),
        ("pat%", &["Pat O'Brien"]),
    ] {
        let sought = Sought::new(sought);
        let finds: Vec<_> = names.into_iter().filter(|name| sought.finds(&[name])).collect();
        assert_eq!(finds, found, "{sought:?}");
    }
    // Whatever sign is in it, what is typed as it is written is found.
    for name in names {
        assert!(Sought::new(name).finds(&[name]), "{name}");
    }
    for room in ["12A", "12a", "12-A", "12 a"] {
        for sought in [" 12 a ", "12a", "12", "12–A"] {
            assert!(Sought::new(sought).finds(&["Ada", room]), "{sought} {room}");
        }
    }
    // However much it is like itself.
    assert!(!Sought::new(&("a ".repeat(50) + "b")).finds(&["a".repeat(100).as_str()]));
}

#[test]
fn people_are_in_the_order_in_which_people_look_for_them() {
    let mut names = [
        "Zoe Young",
        "Émile Zola",
        "Jan de Vries",
        "Robert Smith Jr.",
        "Robert Smith",
        "Anna Smith",
        "Åke Ångström",
        "Smith, Zoe",
        "maria van den Berg",
        "Ada Brown",
        "Bea devries",
        "Łucja Lis",
        "Carl Adams III, MD",
        "(Bob) Dwyer",
        "Dwyer, Pat (Patsy)",
        "Sean Dwyer (of 12 A)",
        "\"Bob\"",
        "- Ada “Addie” Dwyer -",
        "?",
    ];
    names.sort_by_cached_key(|name| name_key(name));
    let expected = [
        "?",
        "Carl Adams III, MD",
        "Åke Ångström",
        "\"Bob\"",
        "Ada Brown",
        "Jan de Vries",
        "Bea devries",
        "- Ada “Addie” Dwyer -",
        "(Bob) Dwyer",
        "Dwyer, Pat (Patsy)",
        "Sean Dwyer (of 12 A)",
        "Łucja Lis",
        "Anna Smith",
        "Robert Smith",
        "Robert Smith Jr.",
        "Smith, Zoe",
        "maria van den Berg",
        "Zoe Young",
        "Émile Zola",
    ];
    assert_eq!(names, expected);
    assert_eq!(initials_of_family("Jan de Vries"), ['D', 'V']);
    assert_eq!(initials_of_family("Maria van den Berg"), ['V', 'B']);
    assert_eq!(initials_of_family("Åke Ångström"), ['A']);
    assert_eq!(initials_of_family("Van Morrison"), ['M']);
    assert_eq!(initials_of_family("Cher"), ['C']);
    assert!(initials_of_family("").is_empty());
    assert_eq!(family_name("Al Do"), "Do");
    for name in
        ["Pat Dwyer (Patsy)", "(Patsy) Dwyer", "[Patsy] Dwyer , Pat", "Dwyer, Jr.", "Pat “Patsy\" Dwyer"]
    {
        assert_eq!(
            (family_name(name).as_str(), &initials_of_family(name)[..]),
            ("Dwyer", &['D'][..]),
            "{name}"
        );
    }
    assert_eq!(initials_of_family("(Bob)"), ['B']);
}

#[test]
fn numbers_in_a_text_sort_as_numbers() {
    let mut rooms = ["Room 10", "room 9", "Room 009b", "12", "2", "2A", "A1", "é", "e", "f"];
    rooms.sort_by_cached_key(|room| sort_key(room));
    assert_eq!(rooms, ["2", "2A", "12", "A1", "e", "é", "f", "room 9", "Room 009b", "Room 10"]);
}

proptest! {
    #[test]
    fn what_was_taken_is_taken_again_as_it_is(text in "\\PC*|[a-z\u{0}-\u{20}\u{300}\u{feff}\u{2028}\u{200b}]*") {
        for form in [line, lines] {
            if let Ok(taken) = form(&text, 10_000) {
                prop_assert_eq!(form(&taken, 10_000), Ok(taken.clone()));
                prop_assert!(!taken.contains('\r'));
            }
        }
    }

    #[test]
    fn a_folded_text_stays_as_it_is(text in "\\PC*") {
        prop_assert_eq!(fold(&fold(&text)), fold(&text));
    }
}
