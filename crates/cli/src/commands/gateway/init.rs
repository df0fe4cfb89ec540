//! `farthing gateway init`: a file to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::exit::Exit;
use crate::terminal::{ACCENT, FAINT, PLAIN, say, say_json};

const TEMPLATE: &str = include_str!("farthing.toml");
/// What presets begin with.
const HEAD: &str = include_str!("presets/head.toml");
/// What stands in the template for what can be said on the command line.
const HOLES: [(&str, &str); 4] = [
    ("{upstream}", "http://127.0.0.1:3000"),
    ("{facilitator}", crate::config::gateway::DEFAULT_FACILITATOR),
    ("{network}", "eip155:84532"),
    ("{pay_to}", "0x…"),
];

/// What is sold, by its usual routes and prices.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// A model server with the usual API of chat completions, by the token
    Openai,
    /// Files of a dataset, each at one price
    Files,
    /// Articles of a site, beside what is free there
    Articles,
}

impl Preset {
    const fn routes(self) -> &'static str {
        match self {
            Self::Openai => include_str!("presets/openai.toml"),
            Self::Files => include_str!("presets/files.toml"),
            Self::Articles => include_str!("presets/articles.toml"),
        }
    }
}

/// What `farthing gateway init` takes.
#[derive(Args)]
pub struct Arguments {
    /// Where to write it
    #[arg(value_name = "FILE", default_value = "farthing.toml")]
    file: PathBuf,
    /// Write the routes of something usual, in place of everything that can be said
    #[arg(long, value_name = "PRESET")]
    preset: Option<Preset>,
    /// Write over what is there
    #[arg(long)]
    force: bool,
    /// What is charged for.
    #[arg(long, value_name = "URL", help = "What is charged for, such as http://127.0.0.1:3000")]
    upstream: Option<String>,
    /// Who verifies and settles
    #[arg(long, value_name = "URL")]
    facilitator: Option<String>,
    /// Where you are paid, such as base-sepolia or eip155:8453
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// The account that is paid
    #[arg(long, value_name = "ACCOUNT")]
    pay_to: Option<String>,
    /// Print what was written where as one JSON object
    #[arg(long)]
    json: bool,
}

/// Writes the file, unless there is one.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, preset, force, upstream, facilitator, network, pay_to, json: as_json } = arguments;
    let said = [upstream, facilitator, network, pay_to];
    let mut text = preset.map_or_else(|| TEMPLATE.to_owned(), |preset| [HEAD, preset.routes()].concat());
    for ((hole, default), said) in HOLES.into_iter().zip(said) {
        text = text.replace(hole, &quoted(said.as_deref().unwrap_or(default))?);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(!force).create(*force).truncate(*force);
    let mut written = match options.open(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already and was left as it is; name another file, or write over it with --force", file.display())
        }
        opened => opened.with_context(|| format!("{} cannot be written", file.display()))?,
    };
    written.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", file.display()))?;
    if *as_json {
        say_json(&json!({"written": file}))?;
    } else {
        say(format!("wrote {ACCENT}{}{PLAIN}", file.display()));
        let next = if pay_to.is_some() { "" } else { "put the account that is paid into it, then " };
        say(format!("{FAINT}{next}farthing gateway check --config {0}; farthing gateway --config {0}{PLAIN}", file.display()));
    }
    Ok(Exit::Ok.into())
}

/// A text of TOML: what JSON writes for a text is one.
fn quoted(text: &str) -> anyhow::Result<String> {
    Ok(serde_json::to_string(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::gateway::Config;

    /// Also with everything that is commented out.
    #[test]
    fn every_template_is_a_configuration_whatever_is_taken_into_use() {
        let account = "\"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"";
        let presets = Preset::value_variants().iter().map(|preset| [HEAD, preset.routes()].concat());
        for template in presets.chain([TEMPLATE.to_owned()]) {
            let mut text = template.replace("{pay_to}", account);
            for (hole, default) in HOLES {
                assert!(template.contains(hole), "{hole} is not in {template}");
                text = text.replace(hole, &format!("{default:?}"));
            }
            let path = std::env::temp_dir().join(format!("farthing-init-{}.toml", std::process::id()));
            for text in [text.clone(), uncommented(&text)] {
                std::fs::write(&path, &text).unwrap();
                let config = Config::load(&path);
                std::fs::remove_file(&path).unwrap();
                let config = config.unwrap_or_else(|error| panic!("{error:#}\n{text}"));
                assert!(!config.route.is_empty());
            }
        }
    }

    /// Takes everything into use that begins with `#` and no space, but the tables of a second way to settle.
    fn uncommented(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.starts_with("#!"));
        lines
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n")
    }
}
