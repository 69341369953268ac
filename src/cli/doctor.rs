//! The findings of the doctor, for people or for programs.

use std::io::{self, Write};

use anstyle::AnsiColor;
use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::tools::doctor::{self, Check, Outcome};
use crate::market::{Market, Venue};

use super::arguments::find_venue;

/// The markets of the exchanges named, or all.
pub fn markets(exchanges: &[String]) -> Result<Vec<Market>, String> {
    if exchanges.is_empty() {
        return Ok(Market::all().collect());
    }
    let venues: Result<Vec<Venue>, String> =
        exchanges.iter().map(|name| find_venue(name)).collect();
    let venues = venues?;
    Ok(Market::all().filter(|market| venues.contains(&market.venue())).collect())
}

/// Examines everything and writes the findings. Returns whether nothing is wrong.
pub fn run(config: &Config, markets: &[Market], is_json: bool) -> bool {
    let checks = doctor::examine(config, markets, Clock::new());
    let is_healthy = checks.iter().all(|check| check.outcome != Outcome::Failed);
    // A reader such as `head` has closed the pipe. That is not an error.
    let _written = match is_json {
        true => write_json(&checks, is_healthy),
        false => write_text(&checks),
    };
    is_healthy
}

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    checks: &'a [Check],
}

fn write_json(checks: &[Check], healthy: bool) -> io::Result<()> {
    let report = serde_json::to_string(&Report { healthy, checks })?;
    writeln!(io::stdout(), "{report}")
}

fn write_text(checks: &[Check]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let mut about = "";
    for check in checks {
        if check.about != about {
            about = &check.about;
            writeln!(out, "{}{about}{}", anstyle::Style::new().bold(), anstyle::Reset)?;
        }
        let (colour, word) = match check.outcome {
            Outcome::Ok => (AnsiColor::Green, "ok"),
            Outcome::Warning => (AnsiColor::Yellow, "warning"),
            Outcome::Failed => (AnsiColor::Red, "WRONG"),
            Outcome::Skipped => (AnsiColor::BrightBlack, "skipped"),
        };
        let (style, end) = (colour.on_default(), anstyle::Reset);
        writeln!(out, "  {style}{word:<8}{end} {:<13} {}", check.check, check.found)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "  {:<8} {:<13} {remedy}", "", "remedy:")?;
        }
    }
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    match (count(Outcome::Failed), count(Outcome::Warning)) {
        (0, 0) => writeln!(out, "nothing is wrong"),
        (0, warnings) => writeln!(out, "nothing is wrong, {warnings} warnings"),
        (failed, _) => {
            writeln!(out, "{failed} of {} checks say that something is wrong", checks.len())
        }
    }
}
