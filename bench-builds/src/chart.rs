//! The chart: bars of wall and CPU time, strategy by strategy.

use plotters::{
    element::{Rectangle, Text},
    prelude::{Color, IntoDrawingArea, IntoFont, RGBColor, SVGBackend, WHITE},
    style::text_anchor::{HPos, Pos, VPos},
};

use super::summary::{Jobs, Summary};

const WIDTH: i32 = 960;
const LEFT: i32 = 310;
const RIGHT: i32 = 130;
const TOP: i32 = 64;
const ROW: i32 = 34;
const BAR: i32 = 12;
const WALL: RGBColor = RGBColor(31, 119, 180);
const CPU: RGBColor = RGBColor(255, 158, 74);
const INK: RGBColor = RGBColor(40, 40, 40);

/// The chart of all builds, as an SVG document.
pub fn svg(summaries: &[Summary]) -> String {
    let rows: Vec<&Summary> = summaries.iter().filter(|s| s.hits.is_some()).collect();
    let longest = rows
        .iter()
        .map(|s| s.wall.median.max(s.cpu.median))
        .fold(1.0, f64::max);
    let count = i32::try_from(rows.len()).unwrap();
    let height = TOP + count * ROW + 8;
    let mut text = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let write = |at: (i32, i32), size: i32, side: HPos, words: String| {
            let style = ("sans-serif", size)
                .into_font()
                .color(&INK)
                .pos(Pos::new(side, VPos::Center));
            area.draw(&Text::new(words, at, style)).unwrap();
        };
        let bar = |x: i32, y: i32, length: i32, color: RGBColor| {
            let corners = [(x, y), (x + length.max(1), y + BAR)];
            area.draw(&Rectangle::new(corners, color.filled())).unwrap();
        };
        write(
            (12, 20),
            20,
            HPos::Left,
            "One CI job, seconds: median, and ratio to plain Docker-in-Docker".to_owned(),
        );
        bar(12, 38, 12, WALL);
        write(
            (30, 44),
            15,
            HPos::Left,
            "wall time, from the start of the daemon to the end of the build".to_owned(),
        );
        bar(492, 38, 12, CPU);
        write((510, 44), 15, HPos::Left, "CPU time of the pod".to_owned());
        let mut y = TOP;
        for row in rows {
            write((LEFT - 10, y + BAR), 16, HPos::Right, label(row));
            for (n, (figure, color)) in (0..).zip([(&row.wall, WALL), (&row.cpu, CPU)]) {
                let top = y + n * (BAR + 1);
                let length = pixels(figure.median / longest);
                bar(LEFT, top, length, color);
                let ratio = figure.ratio.unwrap_or_default();
                let words = format!("{:.1} s, {ratio:.2} ×", figure.median);
                write((LEFT + length + 6, top + BAR / 2), 14, HPos::Left, words);
            }
            y += ROW;
        }
        area.present().unwrap();
    }
    text.trim_end().to_owned() + "\n"
}

fn label(row: &Summary) -> String {
    match row.jobs {
        Jobs::Each => row.strategy.to_owned(),
        Jobs::First => format!("{}: first job", row.strategy),
        Jobs::Later => format!("{}: later jobs", row.strategy),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a share of some hundred pixels"
)]
fn pixels(share: f64) -> i32 {
    (share * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
}
