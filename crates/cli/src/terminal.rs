//! How the command looks on a terminal: few colours, none where `NO_COLOR` is set or the output is no terminal.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};

/// Good news.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Bad news.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What matters in a line.
pub const STRONG: Style = Style::new().bold();
/// What may be skipped.
pub const FAINT: Style = Style::new().dimmed();
/// Money and links.
pub const ACCENT: Style = AnsiColor::Cyan.on_default();
/// Back to normal.
pub const PLAIN: anstyle::Reset = anstyle::Reset;

const BAR_CELLS: usize = 24;
/// The most of a stranger's text that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 500;

/// A progress line that is redrawn in place on a terminal, and written once, when done, elsewhere.
pub struct Progress {
    live: bool,
}

impl Progress {
    /// A progress line on stdout.
    pub fn on_stdout() -> Self {
        Self { live: std::io::stdout().is_terminal() }
    }

    /// Redraws the line.
    pub fn draw(&self, done: usize, of: usize, text: &str) {
        if self.live {
            let filled = done.saturating_mul(BAR_CELLS).checked_div(of).unwrap_or(0).min(BAR_CELLS);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR_CELLS.saturating_sub(filled)));
            anstream::print!("\r      {ACCENT}{bar}{PLAIN} {text}\x1b[K");
            flush();
        }
    }

    /// Writes the last state of the line and ends it.
    pub fn finish(&self, text: &str) {
        if self.live {
            anstream::print!("\r\x1b[K");
        }
        anstream::println!("      {text}");
    }
}

/// An address or hash with its middle left out: `0x2096…287C`.
pub fn short(text: &str) -> String {
    match (text.get(..6), text.len().checked_sub(4).and_then(|from| text.get(from..))) {
        (Some(head), Some(tail)) if text.len() > 14 => format!("{head}…{tail}"),
        _ => text.to_owned(),
    }
}

/// A stranger's text as it may be shown: without the control characters that could redraw the terminal, and cut.
pub fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_SHOWN_CHARS).collect()
}

fn flush() {
    // A terminal that went away is found out by the next line that matters.
    let _gone = std::io::stdout().flush().is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_draw_on_the_terminal() {
        assert_eq!(plain("free\x1b[2J\r\n\u{9b}31mbeer"), "free[2J31mbeer");
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(short("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"), "0x2096…287C");
        assert_eq!(short("0x1234"), "0x1234");
        assert_eq!(short("ééééééééééééééééé"), "ééééééééééééééééé");
    }
}
