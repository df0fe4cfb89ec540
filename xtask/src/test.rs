//! `cargo xtask test`: every check, in order, until one fails.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{licences, matrix, peers, process::run, style, suite::Tally, tools, workspace::Workspace};

type Step = fn(&mut Session) -> Result<()>;

/// One file for each topic of the example `extensions`.
const EXAMPLE_TOPICS: &str = "crates/farthing/examples/extensions/topics";

const STEPS: &[(&str, Step)] = &[
    ("tools", |_| tools::require()),
    ("house style", house_style),
    ("licences of the dependencies", licences_of_the_dependencies),
    ("formatting", |session| run(&mut session.workspace.cargo(&["fmt", "--all", "--check"]))),
    ("spelling", |session| run(&mut peers::spelling_checker(session.workspace)?)),
    ("peers", install_peers),
    ("contracts are what their sources compile to", contracts),
    ("lints", lints),
    ("tests", tests),
    ("interop matrix", interop_matrix),
    ("documentation's examples", documentation_examples),
    ("documentation", documentation),
    ("the extensions' running examples", running_examples),
    ("the demo", demo),
];

/// What one step leaves for those after it.
struct Session<'a> {
    workspace: &'a Workspace,
    tally: Tally,
    peers: PathBuf,
    notes: Vec<String>,
}

/// Runs every step, stops at the first that fails, and closes with a line that counts the tests.
pub fn run_all(workspace: &Workspace) -> ExitCode {
    let begun = Instant::now();
    let mut session = Session { workspace, tally: Tally::default(), peers: PathBuf::new(), notes: Vec::new() };
    let mut failure = None;
    for (number, (title, step)) in STEPS.iter().enumerate() {
        println!("\n[{}/{}] {title}", number + 1, STEPS.len());
        let started = Instant::now();
        if let Err(error) = step(&mut session) {
            failure = Some((title, error));
            break;
        }
        println!("      {} s", started.elapsed().as_secs());
    }
    println!("\n{} s in all", begun.elapsed().as_secs());
    for note in &session.notes {
        println!("{note}");
    }
    if let Some((title, error)) = &failure {
        println!("FAILED at {title}: {error:#}");
    }
    println!("{} passed, {} failed", session.tally.passed, session.tally.failed);
    if failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn house_style(session: &mut Session) -> Result<()> {
    let files = style::check(session.workspace)?;
    session.notes.push(format!("house style: {files} files"));
    Ok(())
}

fn licences_of_the_dependencies(session: &mut Session) -> Result<()> {
    let packages = licences::check(session.workspace)?;
    session.notes.push(format!("licences: {packages} packages"));
    Ok(())
}

fn install_peers(session: &mut Session) -> Result<()> {
    session.peers = peers::install(session.workspace)?;
    Ok(())
}

fn contracts(session: &mut Session) -> Result<()> {
    run(peers::contracts_compiler(session.workspace)?.arg("--check"))
}

fn lints(session: &mut Session) -> Result<()> {
    run(&mut session.workspace.cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn tests(session: &mut Session) -> Result<()> {
    let results = results_file(session);
    fs::create_dir_all(&session.workspace.target)?;
    fs::write(&results, "")?;
    let mut command = if tools::has_nextest() {
        let arguments = ["nextest", "run", "--workspace", "--no-fail-fast", "--config-file", "xtask/nextest.toml"];
        session.workspace.cargo(&arguments)
    } else {
        println!("cargo-nextest is not installed: the tests run under cargo test, one program after the other");
        let arguments = ["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"];
        session.workspace.cargo(&arguments)
    };
    command.env(peers::INDEX_VARIABLE, &session.peers).env(matrix::RESULTS_VARIABLE, results);
    if std::io::stderr().is_terminal() {
        // The runner writes into a pipe of ours, and would leave its colours out.
        command.env("CARGO_TERM_COLOR", "always");
    }
    session.tally.add_run(&mut command)
}

fn interop_matrix(session: &mut Session) -> Result<()> {
    let summary = matrix::summary(&results_file(session))?;
    println!("{summary}");
    session.notes.push(summary);
    Ok(())
}

fn documentation_examples(session: &mut Session) -> Result<()> {
    let mut command = session.workspace.cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    session.tally.add_run(&mut command)
}

fn documentation(session: &mut Session) -> Result<()> {
    let mut command = session.workspace.cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    run(command.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// One run for each topic that has a file, whether or not the program's own list names it.
fn running_examples(session: &mut Session) -> Result<()> {
    let topics = example_topics(&session.workspace.root.join(EXAMPLE_TOPICS))?;
    for topic in &topics {
        let arguments = ["run", "--quiet", "--package", "farthing", "--example", "extensions", "--", topic.as_str()];
        run(&mut session.workspace.cargo(&arguments))?;
    }
    session.notes.push(format!("running examples: {} topics", topics.len()));
    Ok(())
}

/// The topics' names as the program takes them: `sign-in` for `sign_in.rs`.
fn example_topics(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".rs")?.replace('_', "-"));
    let mut topics: Vec<String> = paths.iter().filter_map(name).collect();
    topics.sort();
    ensure!(!topics.is_empty() && topics.len() == paths.len(), "{} must hold topics and nothing else", folder.display());
    Ok(topics)
}

fn demo(session: &mut Session) -> Result<()> {
    run(&mut session.workspace.cargo(&["run", "--release", "--bin", "farthing", "--", "demo", "--once"]))
}

fn results_file(session: &Session) -> PathBuf {
    session.workspace.target.join("interop-results.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_among_the_topics_is_one_to_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(EXAMPLE_TOPICS);
        let topics = example_topics(&folder).unwrap();
        assert_eq!(topics.len(), fs::read_dir(&folder).unwrap().count());
        assert!(topics.contains(&"sign-in".to_owned()), "{topics:?}");
        assert!(example_topics(folder.parent().unwrap()).is_err(), "a folder among them is no topic");
        assert!(example_topics(&folder.join("nowhere")).is_err());
    }
}
