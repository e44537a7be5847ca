//! What a benchmark says: one line for each row, with its aim and its verdict; the same as JSON.

use std::io::Write;

use serde::Serialize;

/// One row of the table in `docs/benchmarks.md`.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// What was measured, in `unit`.
    pub(super) measured: f64,
    pub(super) unit: &'static str,
    pub(super) aim: Aim,
    pub(super) reached: bool,
    /// What stands behind the figure.
    pub(super) details: Vec<(&'static str, f64)>,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aim {
    AtMost(f64),
    AtLeast(f64),
    /// Measured for information.
    None,
}

impl Row {
    pub(super) fn new(
        name: impl Into<String>,
        measured: f64,
        unit: &'static str,
        aim: Aim,
        details: Vec<(&'static str, f64)>,
    ) -> Self {
        let reached = match aim {
            Aim::AtMost(most) => measured <= most,
            Aim::AtLeast(least) => measured >= least,
            Aim::None => true,
        };
        Self { name: name.into(), measured, unit, aim, reached, details }
    }

    /// For people.
    pub(super) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let aim = match self.aim {
            Aim::AtMost(most) => format!("≤ {most} {}", self.unit),
            Aim::AtLeast(least) => format!("≥ {least} {}", self.unit),
            Aim::None => "—".into(),
        };
        let verdict = match (self.aim, self.reached) {
            (Aim::None, _) => "",
            (_, true) => "reached",
            (_, false) => "MISSED",
        };
        let measured = format!("{} {}", short(self.measured), self.unit);
        writeln!(out, "{:<58} {measured:>14}   {aim:<16} {verdict}", self.name)?;
        let details: Vec<String> =
            self.details.iter().map(|(what, figure)| format!("{what} {}", short(*figure))).collect();
        if !details.is_empty() {
            writeln!(out, "    {}", details.join(", "))?;
        }
        out.flush()
    }
}

fn short(figure: f64) -> String {
    if figure.abs() >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

/// The middle one; the upper of the two middle ones of an even number.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figure below which this share of all lie.
pub(super) fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_is_said() {
        let row = |measured| Row::new("x", measured, "F", Aim::AtMost(1.25), Vec::new());
        assert!(row(1.25).reached);
        assert!(!row(1.26).reached);
        let mut text = Vec::new();
        row(1.26).print(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("MISSED"));
    }

    #[test]
    fn the_median_ignores_one_outlier() {
        assert!((median(vec![1.0, 100.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
