//! Invented people and places, and realistic records from a fixed seed.

use serde_json::{Map, Value, json};

/// A resident or patient to admit.
#[derive(Debug, Clone)]
pub struct Resident {
    /// Medical record number.
    pub mrn: String,
    /// Full name.
    pub name: String,
    /// `YYYY-MM-DD`.
    pub date_of_birth: String,
    /// Room, where there are rooms.
    pub room: Option<String>,
}

const GIVEN: [&str; 22] = [
    "Ada", "Bela", "Cora", "Dov", "Edda", "Finn", "Greta", "Hugo", "Inge", "Jonas", "Kaia", "Lorenz", "Mina",
    "Nils", "Oda", "Pavel", "Runa", "Sven", "Tilda", "Uwe", "Vera", "Wim",
];
const FAMILY: [&str; 45] = [
    "Amberly",
    "Okonjo",
    "Hollis",
    "Kestrel",
    "Smith",
    "Birkett",
    "Marchetti",
    "Dunmore",
    "Lindqvist",
    "Castellan",
    "Rosenthal",
    "Grantham",
    "Brookfield",
    "Nakagawa",
    "Fairlough",
    "Pemberton",
    "Smith",
    "Jarrow",
    "Whitlock",
    "Elmsworth",
    "Sandoval",
    "Carmody",
    "Abelson",
    "Hathaway",
    "Lockwood",
    "Delacroix",
    "Kowalczyk",
    "Moravec",
    "Prendergast",
    "Thackeray",
    "Gilchrist",
    "Smith",
    "Northcott",
    "Jessop",
    "Farouk",
    "Ostrander",
    "Bellweather",
    "Haverford",
    "Langtry",
    "Corrigan",
    "Sorensen",
    "Mandeville",
    "Greaves",
    "Whitcombe",
    "Pruitt",
];

/// `count` residents, in rooms or without. Of the first 250 no two share a name, though there are
/// several Smiths.
#[must_use]
pub fn residents(prefix: &str, count: usize, rooms: bool) -> Vec<Resident> {
    (0..count)
        .map(|at| Resident {
            mrn: format!("{prefix}-{:04}", 1000 + at),
            name: format!("{} {}", pick(&GIVEN, at), pick(&FAMILY, at)),
            date_of_birth: format!("19{:02}-{:02}-{:02}", 30 + at % 25, 1 + at % 12, 1 + (at * 7) % 28),
            room: rooms.then(|| format!("{}{:02}", 1 + at / 24, 1 + at % 24)),
        })
        .collect()
}

fn pick<'a>(list: &[&'a str], at: usize) -> &'a str {
    list.get(at % list.len()).copied().unwrap_or_default()
}

/// A small generator (SplitMix64), so that a seed always gives the same corpus.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of that seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// About normally distributed around `mean`: the sum of four draws.
    pub fn around(&mut self, mean: i64, spread: i64) -> i64 {
        let sum: u64 = (0..4).map(|_| self.below(1000)).sum();
        mean + (i64::try_from(sum).unwrap_or(2000) - 2000) * spread / 1150
    }
}

/// The answers of one round of vitals, as nurses give them: pressure and pulse always, the rest now and
/// then.
pub fn vitals(random: &mut Random) -> Map<String, Value> {
    let systolic = random.around(128, 18);
    let diastolic = systolic * 6 / 10 + random.around(2, 6);
    let mut values = Map::new();
    values.insert("systolic".to_owned(), json!(systolic.clamp(85, 210)));
    values.insert("diastolic".to_owned(), json!(diastolic.clamp(45, 120)));
    values.insert("pulse".to_owned(), json!(random.around(76, 10).clamp(45, 140)));
    if random.below(4) == 0 {
        let tenths = i32::try_from(random.around(979, 7)).unwrap_or(979);
        values.insert("temperature".to_owned(), json!(f64::from(tenths) / 10.0));
    }
    if random.below(4) == 0 {
        values.insert("oxygen".to_owned(), json!(random.around(96, 2).clamp(84, 100)));
    }
    if random.below(8) == 0 {
        values.insert("respirations".to_owned(), json!(random.around(17, 2).clamp(10, 30)));
    }
    if random.below(6) == 0 {
        let notes = [
            "Resting in bed, no complaint.",
            "Short of breath after walking; rechecked after ten minutes.",
            "Refused the first time, agreed after breakfast.",
            "Complains of mild headache, charge nurse told.",
        ];
        let note = pick(&notes, usize::try_from(random.below(4)).unwrap_or(0));
        values.insert("note".to_owned(), json!(note));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residents_have_names_of_their_own() {
        let mut names: Vec<_> = residents("R", 220, true).into_iter().map(|resident| resident.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 220);
    }

    #[test]
    fn a_seed_gives_the_same_vitals_again() {
        let corpus = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| vitals(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(corpus(1), corpus(1));
        assert_ne!(corpus(1), corpus(2));
    }
}
