//! Reads what programs wrote to a terminal from standard input and prints the terminal's screen as SVG: `./x picture`.

use std::{
    fmt::Write,
    io::{Read, Write as _, stdin, stdout},
};

use vt100::{Cell, Color, Parser, Screen};

const COLUMNS: u16 = 76;
/// More rows than any picture has; blank ones at the end are cut off.
const ROWS: u16 = 200;

/// Pixels of a character cell, and of the frame.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 19.0;
const FRAME: f32 = 18.0;
const TITLE: f32 = 34.0;

const BACKGROUND: &str = "#16191f";
const FOREGROUND: &str = "#d8dee9";
/// The sixteen colors of a terminal.
const PALETTE: [&str; 16] = [
    "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9", "#5c6370", "#ff7b86",
    "#b5e890", "#ffd68a", "#7cc4ff", "#dd9bf0", "#7fd6e0", "#ffffff",
];

/// How a run of characters looks.
#[derive(Clone, PartialEq)]
struct Style {
    color: String,
    bold: bool,
}

impl Style {
    fn of(cell: &Cell) -> Self {
        let color = match cell.fgcolor() {
            Color::Default => FOREGROUND.to_owned(),
            Color::Idx(index) => PALETTE.get(usize::from(index)).map_or(FOREGROUND, |color| color).to_owned(),
            Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        };
        Self { color, bold: cell.bold() }
    }
}

/// A row as runs of one style: the column of the first character, the text, and the style.
fn runs(screen: &Screen, row: u16) -> Vec<(u16, String, Style)> {
    let mut runs: Vec<(u16, String, Style)> = Vec::new();
    let cells = (0..COLUMNS).filter_map(|column| Some((column, screen.cell(row, column)?)));
    for (column, cell) in cells.filter(|(_, cell)| cell.has_contents() && cell.contents() != " ") {
        let style = Style::of(cell);
        match runs.last_mut() {
            Some((start, text, last)) if *last == style && usize::from(column - *start) <= text.chars().count() + 1 => {
                while text.chars().count() < usize::from(column - *start) {
                    text.push(' ');
                }
                text.push_str(cell.contents());
            }
            _ => runs.push((column, cell.contents().to_owned(), style)),
        }
    }
    runs
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn draw(screen: &Screen) -> String {
    let rows: Vec<_> = (0..ROWS).map(|row| runs(screen, row)).collect();
    let used = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
    let (width, mut y) = (f32::from(COLUMNS) * WIDTH + 2.0 * FRAME, TITLE + FRAME);
    let mut body = String::new();
    for row in &rows[..used] {
        for (column, text, Style { color, bold }) in row {
            let (x, weight) = (FRAME + f32::from(*column) * WIDTH, if *bold { " font-weight=\"bold\"" } else { "" });
            let cells = u16::try_from(text.chars().count()).map_or(0.0, f32::from);
            let _never_fails = writeln!(
                body,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{:.1}\" fill=\"{color}\"{weight}>{}</text>",
                cells * WIDTH,
                escape(text)
            );
        }
        y += HEIGHT;
    }
    let height = y;
    let lights = [("#ff5f57", 20), ("#febc2e", 40), ("#28c840", 60)];
    let lights = lights.map(|(color, x)| format!("<circle cx=\"{x}\" cy=\"18\" r=\"6\" fill=\"{color}\"/>\n")).concat();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         role=\"img\" aria-label=\"A terminal that runs a Nomad job with longshore\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"9\" fill=\"{BACKGROUND}\"/>\n{lights}\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"14\" \
         xml:space=\"preserve\">\n{body}</g>\n</svg>\n"
    )
}

fn main() -> std::io::Result<()> {
    let mut written = Vec::new();
    stdin().read_to_end(&mut written)?;
    let mut terminal = Parser::new(ROWS, COLUMNS, 0);
    terminal.process(&written);
    stdout().write_all(draw(terminal.screen()).as_bytes())
}
