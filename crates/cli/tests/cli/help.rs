//! What the command says of itself.

use crate::run::farthing;

fn help_of(command: &[&str]) -> String {
    let ended = farthing(command.iter().copied().chain(["--help"])).run().with_code(0);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

#[test]
fn every_command_explains_itself() {
    insta::assert_snapshot!("farthing", help_of(&[]));
    for command in ["demo", "pay", "inspect", "gateway", "facilitator", "ledger", "devnet"] {
        insta::assert_snapshot!(command, help_of(&[command]));
    }
    for (command, action) in [
        ("gateway", "init"),
        ("gateway", "check"),
        ("facilitator", "check"),
        ("facilitator", "key"),
        ("ledger", "list"),
        ("ledger", "show"),
        ("ledger", "reconcile"),
    ] {
        insta::assert_snapshot!(format!("{command}-{action}"), help_of(&[command, action]));
    }
}

#[test]
fn the_exit_codes_are_those_of_the_readme() {
    let readme = include_str!("../../../../README.md");
    let of = |text: &str| {
        let codes = text.split_once("xit codes").unwrap().1.replace('\n', " ");
        codes
            .split(" · ")
            .map(|code| code.split_whitespace().find_map(|word| word.parse::<u8>().ok()).unwrap())
            .collect::<Vec<_>>()
    };
    let help = of(&help_of(&["pay"]));
    assert_eq!(help, [0, 1, 2, 10, 11, 12, 13, 14, 22]);
    assert_eq!(of(readme.split_once("\n\n## Settle").unwrap().0)[..], help[..]);
}

#[test]
fn the_version_is_the_packages() {
    let ended = farthing(["--version"]).run().with_code(0);
    assert_eq!(ended.stdout, format!("farthing {}\n", env!("CARGO_PKG_VERSION")));
    farthing([]).run().with_code(2);
}
