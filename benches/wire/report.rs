//! A run as one page that needs nothing else: figures, curves, the machine, and what has changed.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::baseline;
use crate::plot;
use crate::process::Relay;
use crate::results::{self, Finding, Results, Row, median};
use crate::table::{RATIOS, number};

/// Writes `report.html`; where.
pub(crate) fn write(results: &Results, baseline: Option<&Results>) -> PathBuf {
    let path = results::folder().join("report.html");
    std::fs::write(&path, page(results, baseline)).unwrap();
    path
}

fn page(results: &Results, baseline: Option<&Results>) -> String {
    let mut out = format!("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{HEAD}");
    out += "</head><body><h1>connector-wss, measured</h1>";
    out += INTRODUCTION;
    if let Some(baseline) = baseline {
        changes(&mut out, baseline, results);
    }
    out += "<h2>Socket to socket, by percentile</h2><div class=\"plots\">";
    for plot in &results.plots {
        let _written = write!(
            out,
            "<figure><figcaption>{}</figcaption>{}</figure>",
            escaped(&plot.name),
            plot::svg(plot)
        );
    }
    out += "</div><h2>Figures</h2>";
    relay_table(&mut out, results.rows.iter().filter(|row| row.is_of_relays()));
    engine_table(&mut out, results.rows.iter().filter(|row| !row.is_of_relays()));
    host(&mut out, results);
    out + "</body></html>\n"
}

const HEAD: &str = "<title>connector-wss, measured</title><style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1600px;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem .6rem;text-align:right}
td:first-child,th:first-child,.text td{text-align:left;vertical-align:top}
tr.section th{text-align:left;padding-top:.9rem;border-bottom:1px solid #999}
thead th{border-bottom:2px solid #555}tbody tr:hover{background:#f3f3f3}td.ratio{color:#555}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(520px,1fr));gap:1rem}
figure{margin:0}figcaption{font-weight:600}svg text{font-size:12px;fill:#333}
svg .grid{stroke:#ddd;fill:none}.differs{color:#a60}.blocks{color:#b00}.unknown{color:#777}
</style>";

const INTRODUCTION: &str = "<p>From the time at which the exchange's bytes were due in its socket to \
the time at which the client had read them from its own: an open load, which goes on whatever comes \
back, so that nothing that waits is left out. <b>copier</b>: a thread that spins and copies the bytes. \
<b>sleeper</b>: the same, asleep until bytes come. \
<b>tokio</b>: tokio + tokio-tungstenite + serde_json. <b>spin</b>, <b>adaptive</b>: connector-wss in \
these wait modes. <b>threads</b>: spin on plain threads instead of glommio's executors. All took turns in one run. Figures are medians over the rounds, p99.99 and max those \
of all rounds together; ratios are medians of the rounds' ratios. What was not delivered is an open \
candle that its successor replaced, or was lost.</p>";

fn changes(out: &mut String, baseline: &Results, results: &Results) {
    *out += "<h2>Beside the earlier run</h2><ul>";
    for change in baseline::host_changes(baseline, results) {
        let _written = write!(out, "<li>another machine: {}</li>", escaped(&change));
    }
    let changes = baseline::changes(baseline, results);
    for change in &changes {
        let _written = write!(out, "<li>{}</li>", escaped(&change.text()));
    }
    let _written = write!(
        out,
        "</ul><p>{} figures have changed by more than the rounds of both runs differ among \
         themselves.</p>",
        changes.len()
    );
}

fn relay_table<'a>(out: &mut String, rows: impl Iterator<Item = &'a Row>) {
    *out += "<table><thead><tr><th></th><th></th>";
    for relay in Relay::ALL {
        let _written = write!(out, "<th>{}</th>", relay.name());
    }
    for (ours, theirs) in RATIOS {
        let _written = write!(out, "<th>{} / {}</th>", ours.name(), theirs.name());
    }
    *out += "</tr></thead><tbody>";
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = &row.section;
            begin_section(out, section);
        }
        let _written = write!(out, "<tr><td>{}</td><td>{}</td>", escaped(&row.name), row.unit);
        for relay in Relay::ALL {
            let value = row.cell(relay.name()).map(|cell| number(cell.shown));
            let _written = write!(out, "<td>{}</td>", value.unwrap_or_default());
        }
        for (ours, theirs) in RATIOS {
            let ratio = row.ratio(ours.name(), theirs.name());
            let ratio = ratio.map(|ratio| format!("{:.2} ×", median(&ratio.rounds)));
            let _written = write!(out, "<td class=\"ratio\">{}</td>", ratio.unwrap_or_default());
        }
        *out += "</tr>";
    }
    *out += "</tbody></table>";
}

fn engine_table<'a>(out: &mut String, rows: impl Iterator<Item = &'a Row>) {
    *out += "<table><thead><tr><th></th><th></th><th>median</th><th>least</th><th>most</th>\
             <th>of</th></tr></thead><tbody>";
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = &row.section;
            begin_section(out, section);
        }
        for cell in &row.cells {
            let least = cell.rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let most = cell.rounds.iter().copied().fold(0.0, f64::max);
            let _written = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&row.name),
                row.unit,
                number(cell.shown),
                number(least),
                number(most),
                escaped(&cell.of)
            );
        }
    }
    *out += "</tbody></table>";
}

fn begin_section(out: &mut String, section: &str) {
    let section = escaped(section);
    let _written = write!(out, "<tr class=\"section\"><th colspan=\"10\">{section}</th></tr>");
}

fn host(out: &mut String, results: &Results) {
    *out += "<h2>The machine</h2><table class=\"text\"><tbody>";
    for (name, value) in &results.host {
        let _written =
            write!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
    }
    *out += "</tbody></table><h2>What of it is untuned</h2><p>As <code>tuning/check.sh</code> says.</p>\
             <table class=\"text\"><thead><tr><th>setting</th><th></th><th>found</th>\
             <th>recommended</th><th>why, and how to change it</th></tr></thead><tbody>";
    // What differs first.
    let is_fine = |finding: &&Finding| finding.state == "ok";
    let findings = || results.findings.iter();
    let worst_first = findings().filter(|one| !is_fine(one)).chain(findings().filter(is_fine));
    for Finding { setting, state, found, recommended, why, how } in worst_first {
        let reason = if why.is_empty() { String::new() } else { format!("{why}: {how}") };
        let _written = write!(
            out,
            "<tr><td>{}</td><td class=\"{state}\">{state}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(setting),
            escaped(found),
            escaped(recommended),
            escaped(&reason)
        );
    }
    *out += "</tbody></table>";
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
