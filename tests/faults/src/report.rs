//! The table of `docs/reliability.md`: between two marks, so that the text around it is a person's.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::measure::Figures;
use crate::scenarios::Scenario;

const BEGIN: &str = "<!-- the table below is written by `cargo xtask faults --report` -->";
const END: &str = "<!-- end of the table -->";

/// What became of one fault.
pub struct Outcome {
    pub scenario: &'static Scenario,
    /// `Err`: what did not hold.
    pub result: Result<Judged, String>,
}

/// A run that held.
pub struct Judged {
    pub evidence: String,
    /// From the end of the fault until everybody was served again.
    pub recovered: Duration,
    pub figures: Figures,
}

/// The table, in Markdown.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| Fault | Must hold | Held | Publishing stood still | A subscriber waited | After healing | Clients saw | Evidence |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for Outcome { scenario, result } in outcomes {
        let row = match result {
            Ok(Judged { evidence, recovered, figures }) => format!(
                "yes ({} acknowledged) | {} | {} | {} | {} | {evidence}",
                figures.acknowledged,
                seconds(figures.publishing_stood),
                seconds(figures.delivery_stood),
                seconds(*recovered),
                figures.seen(),
            ),
            Err(why) => format!("**no** | | | | | {}", why.lines().next().unwrap_or_default()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} | {row} |", scenario.fault, scenario.holds);
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Puts the table into a document that has the marks. Rows of faults that were not played now stay, in the order of `faults`.
pub fn write(document: &Path, table: &str, faults: &[&str]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document)?;
    let place = || format!("{} has no place for the table ({BEGIN} … {END})", document.display());
    let (before, rest) = text.split_once(BEGIN).with_context(place)?;
    let (earlier, after) = rest.split_once(END).with_context(place)?;
    let head = table.lines().take(2);
    let row = |fault: &&str| {
        let is = |line: &&str| {
            line.strip_prefix("| ").and_then(|line| line.strip_prefix(*fault)?.strip_prefix(" |")).is_some()
        };
        table.lines().find(is).or_else(|| earlier.lines().find(is))
    };
    let lines: Vec<&str> = head.chain(faults.iter().filter_map(row)).collect();
    std::fs::write(document, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", lines.join("\n")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_goes_between_the_marks_and_rows_that_are_not_new_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.md");
        let (head, line) = ("| Fault |", "|---|");
        let old = format!("{head}\n{line}\n| one | old |\n| three | old |\n| forgotten | old |");
        std::fs::write(&file, format!("before\n{BEGIN}\n{old}\n{END}\nafter\n")).unwrap();
        let new = format!("{head}\n{line}\n| two | new |\n| three | new |\n");
        write(&file, &new, &["one", "two", "three", "four"]).unwrap();
        let expected = format!("{head}\n{line}\n| one | old |\n| two | new |\n| three | new |");
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("before\n{BEGIN}\n\n{expected}\n\n{END}\nafter\n")
        );
        std::fs::write(&file, "no marks").unwrap();
        assert!(write(&file, &new, &[]).is_err());
    }
}
