//! `farthing demo`: the whole story, offline. Everything that it shows happens: real HTTP, real signatures, a real EVM.

mod crash;
mod crowd;
mod metered;
mod operator;
mod sample;
mod smart_wallet;
mod stack;
mod story;
mod teller;

use std::process::ExitCode;

use clap::Args;

use self::stack::Stack;
use self::teller::Teller;
use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::open_files;
use crate::signals::Stop;
use crate::terminal::say_json;

/// What the demo itself has open, before any agent comes.
const OPEN_FILES_ALONE: usize = 64;
/// What one agent needs: both ends of the ways from it to the seller, on to the facilitator, and on to the chain.
const OPEN_FILES_PER_AGENT: usize = 6;

/// What `farthing demo` takes.
#[derive(Args)]
pub struct Arguments {
    /// Play the story and exit; the exit code says whether all of it came true
    #[arg(long)]
    once: bool,
    /// Print the facts as one JSON object on stdout, and no story
    #[arg(long)]
    json: bool,
    /// How many agents pay at once at the end
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: u16,
}

/// Plays the story.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error")?;
    check_room_for(arguments.agents)?;
    let mut stack = Stack::start().await?;
    let teller = Teller::new(arguments.json);
    let facts = story::play(&mut stack, &teller, arguments.agents.into()).await?;
    let stop = Stop::listen()?;
    if arguments.json {
        say_json(&facts)?;
    }
    if !arguments.once {
        teller.invite(&stack);
        stop.wait().await;
    }
    stack.stop().await;
    Ok(if facts.all_true() { Exit::Ok } else { Exit::Failed }.into())
}

/// Every agent, the seller, the facilitator and the chain have both ends of their connections in this process.
fn check_room_for(agents: u16) -> anyhow::Result<()> {
    let room = open_files::raise();
    let places = room.saturating_sub(OPEN_FILES_ALONE) / OPEN_FILES_PER_AGENT;
    anyhow::ensure!(
        usize::from(agents) <= places,
        "{agents} agents at once need {OPEN_FILES_PER_AGENT} open files each, and this system allows {room} in all; try --agents {places}"
    );
    Ok(())
}
