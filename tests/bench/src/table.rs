//! All rows with what they must be, as Markdown, and how busy the machine was.

use std::fmt::Write as _;

use serde_json::json;

use crate::generator::Row;

#[derive(Default)]
pub(crate) struct Table(Vec<(Row, String)>);

impl Row {
    pub(crate) fn at_most(
        name: &str,
        measured: f64,
        unit: &str,
        aim: f64,
        details: Vec<(String, f64)>,
    ) -> Self {
        Self {
            name: name.into(),
            measured,
            unit: unit.into(),
            aim: json!({ "at_most": aim }),
            reached: measured <= aim,
            details,
        }
    }
}

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("?").to_owned();
        println!("{}: {} (load {load}); {}", row.name, figure(&row), details(&row));
        self.0.push((row, load));
    }

    pub(crate) fn add_all(&mut self, rows: Vec<Row>) {
        rows.into_iter().for_each(|row| self.add(row));
    }

    pub(crate) fn all_reached(&self) -> bool {
        self.0.iter().all(|(row, _)| row.reached)
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| | must | measured | figures behind it |\n|---|---|---|---|\n");
        for (row, load) in &self.0 {
            let verdict = if row.reached { "" } else { ": missed" };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | **{}{verdict}** | {}; load {load} |",
                row.name,
                aim(row),
                figure(row),
                details(row)
            );
        }
        text
    }
}

fn aim(row: &Row) -> String {
    let aim = |name: &str| row.aim.get(name).and_then(serde_json::Value::as_f64);
    match (aim("at_most"), aim("at_least")) {
        (Some(most), _) => format!("≤ {most} {}", row.unit),
        (_, Some(least)) => format!("≥ {least} {}", row.unit),
        _ => "—".into(),
    }
}

fn figure(row: &Row) -> String {
    format!("{} {}", short(row.measured), row.unit)
}

fn details(row: &Row) -> String {
    let each: Vec<String> =
        row.details.iter().map(|(what, figure)| format!("{what} {}", short(*figure))).collect();
    each.join(", ")
}

fn short(figure: f64) -> String {
    if figure.abs() >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

/// The middle one; the upper of the two middle ones of an even number.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
