//! The figures: collected run by run, printed with what each means, written for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

/// What is measured: its name in `bench.json`, its unit, what it means and what is aimed at.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) aim: &'static str,
}

/// Samples by name.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<&'static str, Vec<f64>>);

impl Figures {
    /// Adds one run's value.
    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// The median of the runs.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(|samples| quantile(samples, 0.5))
    }

    /// The table for people.
    pub(crate) fn table(&self, rows: &[Row]) -> String {
        let mut table = String::new();
        for Row { name, unit, meaning, aim } in rows.iter().filter(|row| self.0.contains_key(row.name)) {
            let value = self.median(name).map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            let runs = self.0.get(name).map_or(0, Vec::len);
            let _ = writeln!(table, "{name:32} {value:>10} {unit:6} {aim:18} {meaning} (median of {runs})");
        }
        table
    }

    /// The object for programs: `{name: {value, unit}}`.
    pub(crate) fn json(&self, rows: &[Row]) -> serde_json::Value {
        rows.iter()
            .filter_map(|row| Some((row.name, json!({"value": self.median(row.name)?, "unit": row.unit}))))
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// The value below which that part of the samples lies.
pub(crate) fn quantile(samples: &[f64], part: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied()
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
