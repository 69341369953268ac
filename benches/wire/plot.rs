//! Percentile curves as an inline picture, in the manner of HdrHistogram's: the further to the
//! right, the rarer, each step of the axis ten times so.

use std::fmt::Write as _;

use crate::results::{Curve, Plot};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// A curve's colour, by the name of the relay.
pub(crate) fn colour(of: &str) -> &'static str {
    match of {
        "copier" => "#7a7a7a",
        "sleeper" => "#b8a0c8",
        "tokio" => "#d1662b",
        "spin" => "#1f6fb4",
        "threads" => "#6fb3e0",
        _ => "#2a8a4a",
    }
}

/// The plot as an `svg` element.
pub(crate) fn svg(plot: &Plot) -> String {
    let axes = Axes::around(plot);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    axes.draw(&mut out);
    for curve in &plot.curves {
        let points = curve.points.iter().map(|&(part, us)| (axes.x(part), axes.y(us)));
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _written = write!(
            out,
            "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"{}\" points=\"{}\"/>",
            colour(&curve.of),
            points.join(" ")
        );
    }
    legend(&mut out, &plot.curves);
    out + "</svg>"
}

/// Both axes are logarithmic: 1/(1 − the part of the messages), and µs.
struct Axes {
    /// Tens on the first axis.
    decades: i32,
    /// Powers of ten at the ends of the second.
    least: i32,
    most: i32,
}

impl Axes {
    fn around(plot: &Plot) -> Self {
        let points = || plot.curves.iter().flat_map(|curve| &curve.points);
        let rarest = points().map(|&(part, _)| rarity(part)).fold(1.0, f64::max);
        let least = points().map(|&(_, us)| us.log10()).fold(f64::INFINITY, f64::min);
        let most = points().map(|&(_, us)| us.log10()).fold(f64::NEG_INFINITY, f64::max);
        if !least.is_finite() {
            return Self { decades: 1, least: 0, most: 1 };
        }
        let least = whole(least.floor());
        Self {
            decades: whole(rarest.ceil()).max(1),
            least,
            most: whole(most.ceil()).max(least + 1),
        }
    }

    fn x(&self, part: f64) -> f64 {
        LEFT + rarity(part) / f64::from(self.decades) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, us: f64) -> f64 {
        let part = (us.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, out: &mut String) {
        for decade in 0..=self.decades {
            let part = 1.0 - 10f64.powi(-decade);
            let digits = usize::try_from(decade - 2).unwrap_or(0);
            let (x, label) = (self.x(part), format!("{:.digits$} %", part * 100.0));
            let _written = write!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0,
            );
        }
        for power in self.least..=self.most {
            let y = self.y(10f64.powi(power));
            let label = match power {
                ..3 => format!("{} µs", 10f64.powi(power)),
                3..6 => format!("{} ms", 10f64.powi(power - 3)),
                _ => format!("{} s", 10f64.powi(power - 6)),
            };
            let _written = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
            );
        }
    }
}

/// How many tens of messages there are to one that takes longer.
fn rarity(part: f64) -> f64 {
    -(1.0 - part).log10()
}

#[allow(clippy::cast_possible_truncation)]
fn whole(value: f64) -> i32 {
    value as i32
}

fn legend(out: &mut String, curves: &[Curve]) {
    for (at, curve) in curves.iter().enumerate() {
        let x = LEFT + 10.0 + 100.0 * at as f64;
        let (y, colour) = (HEIGHT - 10.0, colour(&curve.of));
        let _written = write!(
            out,
            "<path stroke=\"{colour}\" stroke-width=\"3\" d=\"M{x} {y}h18\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 24.0,
            y + 4.0,
            curve.of
        );
    }
}
