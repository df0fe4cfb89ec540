//! Development tasks. `cargo xtask help` lists them; `cargo xtask test` is all that CI runs.

mod bench_peers;
mod licences;
mod matrix;
mod peers;
mod process;
mod style;
mod suite;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{process::run, workspace::Workspace};

const HELP: &str = "\
Development tasks of Farthing: cargo xtask TASK

  test            everything that CI checks, in one run
  bench [GROUP…]  build farthing, its peers and farthing-bench in release mode, and run the last
  soak [CAMPAIGN…] build the long campaigns of proof/ in release mode and run them; `soak --help` lists them
  mutants [ARG…]  change what guards money, one place at a time, and see whether a test notices; hours, or `--shard 0/20`
  contracts       compile contracts/ into contracts/artifacts/
  peers           install the official SDKs and the other programs that the tests talk to
  help            this text

FARTHING_CACHE   where peers are installed       (default: $HOME/.cache/farthing)
CARGO_TARGET_DIR where cargo builds              (default: $HOME/.cache/farthing/target)
";

fn main() -> ExitCode {
    match task() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let workspace = Workspace::find()?;
    match name {
        "test" => return Ok(test::run_all(&workspace)),
        "bench" => {
            // The binary is measured as users build it, so it is built as they do.
            run(&mut workspace.cargo(&["build", "--release", "--package", "farthing-cli"]))?;
            let peers = bench_peers::prepare(&workspace, rest)?;
            let mut bench = workspace.cargo(&["run", "--release", "--package", "farthing-bench", "--"]);
            run(bench.args(rest).envs(peers))?;
        }
        "soak" => {
            // The campaigns start a process of their own to kill it, so all programs are built.
            let proof = ["--release", "--package", "farthing-proof"];
            let peers = peers::install(&workspace)?;
            run(workspace.cargo(&["build", "--bins"]).args(proof))?;
            let mut soak = workspace.cargo(&["run", "--bin", "farthing-soak"]);
            run(soak.args(proof).arg("--").args(rest).env(peers::INDEX_VARIABLE, peers))?;
        }
        "mutants" => {
            if !tools::has_mutants() {
                bail!("cargo-mutants is not installed; get it with `cargo install --locked cargo-mutants`");
            }
            let peers = peers::install(&workspace)?;
            // It builds copies of the work tree, in a folder of their own, and one after the other: incrementally.
            let output = workspace.target.join("mutants");
            let mut mutants = workspace.command("cargo");
            mutants.args(["mutants", "--workspace", "--no-shuffle", "--output"]).arg(&output).args(rest);
            run(mutants.env("CARGO_TARGET_DIR", output.join("target")).env(peers::INDEX_VARIABLE, peers))?;
        }
        "contracts" => {
            tools::require()?;
            run(&mut peers::contracts_compiler(&workspace)?)?;
        }
        "peers" => {
            tools::require()?;
            let index = peers::install(&workspace)?;
            println!("{}", index.display());
        }
        "help" | "--help" | "-h" => print!("{HELP}"),
        unknown => bail!("there is no task named {unknown:?}; `cargo xtask help` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
