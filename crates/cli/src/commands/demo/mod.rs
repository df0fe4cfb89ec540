//! `farthing demo`: the whole story, offline. Everything that it shows happens: real HTTP, real signatures, a real EVM.

mod crowd;
mod sample;
mod stack;
mod story;

use std::process::ExitCode;

use clap::Args;

use crate::exit::Exit;
use crate::logging::{self, LogFormat};

/// What `farthing demo` takes.
#[derive(Args)]
pub struct Arguments {
    /// Play the story and exit; the exit code says whether all of it came true.
    #[arg(long)]
    once: bool,
    /// Print the facts as one JSON object on stdout, and no story.
    #[arg(long)]
    json: bool,
    /// How many agents pay at once at the end.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5000))]
    agents: u16,
}

/// Plays the story.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error");
    let stack = stack::Stack::start().await?;
    let teller = story::Teller { silent: arguments.json };
    let facts = story::play(&stack, &teller, arguments.agents.into()).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&facts)?);
    }
    if !arguments.once {
        teller.invite(&stack);
        tokio::signal::ctrl_c().await?;
    }
    stack.stop().await;
    Ok(if facts.all_true() { Exit::Ok } else { Exit::Failed }.into())
}
