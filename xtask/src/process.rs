//! Runs commands, and says which one failed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, bail};

/// Runs a command whose output goes straight to the user.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed on standard output.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed something else than UTF-8", shown(command)))
}

/// Runs a command, shows its output as it comes, and hands every line to `watch` without colours.
/// Returns whether the command succeeded.
pub fn run_watched(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let (lines, received) = mpsc::channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|it| Box::new(it) as _), child.stderr.take().map(|it| Box::new(it) as _)];
    for output in outputs.into_iter().flatten() {
        let lines = lines.clone();
        thread::spawn(move || forward(output, &lines));
    }
    drop(lines);
    let mut terminal = std::io::stderr();
    for line in received {
        terminal.write_all(&line).context("cannot write to standard error")?;
        watch(&without_colours(&String::from_utf8_lossy(&line)));
    }
    Ok(child.wait().with_context(|| format!("lost {}", shown(command)))?.success())
}

fn forward(output: impl Read, lines: &mpsc::Sender<Vec<u8>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        if lines.send(std::mem::take(&mut line)).is_err() {
            return;
        }
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or_default();
    }
    plain + rest
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out_of_a_watched_line() {
        assert_eq!(without_colours("\u{1b}[32;1m  Summary\u{1b}[0m [0.5s]\n"), "  Summary [0.5s]\n");
    }

    #[test]
    fn every_line_of_both_outputs_is_watched() {
        let mut seen = Vec::new();
        let succeeded = run_watched(Command::new("sh").args(["-c", "echo out; echo err >&2; printf end; exit 3"]), |line| {
            seen.push(line.trim().to_owned());
        })
        .unwrap();
        seen.sort();
        assert!(!succeeded);
        assert_eq!(seen, ["end", "err", "out"]);
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` ended with exit status: 3");
    }
}
