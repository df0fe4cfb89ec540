//! How the command looks on a terminal: few colours, none where `NO_COLOR` is set or the output is no terminal.
//!
//! A reader who closes the pipe has read enough: what is written for people is then dropped, and is no error.

use std::fmt::Display;
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
const MAX_SHOWN_CHARS: usize = 1_000;

/// Writes a line to stdout.
pub fn say(line: impl Display) {
    let _closed = writeln!(anstream::stdout(), "{line}").is_err();
}

/// Writes a line to stderr.
pub fn note(line: impl Display) {
    let _closed = writeln!(anstream::stderr(), "{line}").is_err();
}

/// Writes facts for programs to stdout, one object a line. They must all arrive.
pub fn say_json(facts: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(facts)?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// A progress line that is redrawn in place on a terminal, and written once, when done, elsewhere.
pub struct Progress {
    is_live: bool,
    indent: &'static str,
}

impl Progress {
    /// A progress line on stdout.
    pub fn on_stdout(indent: &'static str) -> Self {
        Self { is_live: std::io::stdout().is_terminal(), indent }
    }

    /// Redraws the line.
    pub fn draw(&self, done: usize, of: usize, text: &str) {
        if self.is_live {
            let filled = done.saturating_mul(BAR_CELLS).checked_div(of).unwrap_or(0).min(BAR_CELLS);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR_CELLS.saturating_sub(filled)));
            self.replace(&format!("{ACCENT}{bar}{PLAIN} {text}"));
        }
    }

    /// Writes the last state of the line and ends it.
    pub fn finish(&self, text: &str) {
        if self.is_live {
            self.replace("");
        }
        say(format!("{}{text}", self.indent));
    }

    /// From the line's start, and clear to its end.
    fn replace(&self, text: &str) {
        let mut stdout = anstream::stdout();
        let _closed = write!(stdout, "\r{}{text}\x1b[K\r", self.indent).and_then(|()| stdout.flush()).is_err();
    }
}

/// An address or hash with its middle left out: `0x2096…287C`.
pub fn short(text: &str) -> String {
    const HEAD_CHARS: usize = 6;
    const TAIL_CHARS: usize = 4;
    let count = text.chars().count();
    if count <= HEAD_CHARS + TAIL_CHARS + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD_CHARS).collect();
    let tail: String = text.chars().skip(count.saturating_sub(TAIL_CHARS)).collect();
    format!("{head}…{tail}")
}

/// A stranger's text as it may be shown: on one line, cut, and without what could redraw the terminal or turn the
/// direction of reading.
pub fn plain(text: &str) -> String {
    let mut letters = text.chars().map(|letter| if matches!(letter, '\n' | '\t') { ' ' } else { letter });
    let mut shown: String = letters.by_ref().filter(|letter| !is_deceptive(*letter)).take(MAX_SHOWN_CHARS).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and the invisible ones that reorder, break or hide text.
fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_cannot_draw_on_the_terminal() {
        assert_eq!(plain("free\x1b[2J\r\u{9b}31mbeer"), "free[2J31mbeer");
        assert_eq!(plain("two\nlines\tand more"), "two lines and more");
    }

    #[test]
    fn a_strangers_text_reads_in_one_direction() {
        assert_eq!(plain("pay \u{202E}00.1$\u{202C} to\u{200B}day"), "pay 00.1$ today");
        assert_eq!(plain("été 日本 10 €"), "été 日本 10 €");
    }

    #[test]
    fn a_long_text_is_cut_where_it_can_be_seen() {
        assert_eq!(plain(&"x".repeat(1_000)), "x".repeat(1_000));
        assert_eq!(plain(&"x".repeat(1_001)), format!("{}…", "x".repeat(1_000)));
    }

    #[test]
    fn long_names_are_cut_in_the_middle() {
        assert_eq!(short("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"), "0x2096…287C");
        assert_eq!(short("0x1234"), "0x1234");
        assert_eq!(short("ééééééééééééééééé"), "éééééé…éééé");
    }
}
