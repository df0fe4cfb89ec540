//! Runs the real binary: once, or as a service that is told to end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The payer's key, known to everybody: the second account of development chains.
pub const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// The facilitator's key: the first account.
pub const OPERATOR_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// After this long a command hangs, and the test has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the surroundings may set, and a test must not inherit.
const FOREIGN: [&str; 7] =
    ["EVM_PRIVATE_KEY", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FACILITATOR_KEY"];

/// A command line, before it runs.
pub struct Farthing {
    command: Command,
    input: String,
    may_show_keys: bool,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command that serves.
pub struct Service {
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    /// What it has said so far on stderr.
    said: Arc<Mutex<String>>,
    stderr: mpsc::Receiver<String>,
}

/// `farthing …`, without a wallet.
pub fn farthing<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Farthing {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farthing"));
    command.args(arguments);
    Farthing::of(command)
}

/// The same, on a system that lets it open so many files and no more.
pub fn farthing_with_open_files<'a>(count: usize, arguments: impl IntoIterator<Item = &'a str>) -> Farthing {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_farthing")]).args(arguments);
    Farthing::of(command)
}

impl Farthing {
    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in FOREIGN {
            command.env_remove(name);
        }
        Self { command, input: String::new(), may_show_keys: false }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With the payer's key where a wallet is looked for.
    pub fn with_wallet(self) -> Self {
        self.env("EVM_PRIVATE_KEY", KEY)
    }

    pub fn arguments<'a>(mut self, more: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(more);
        self
    }

    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// For the commands whose business it is to print development keys.
    pub fn may_show_keys(mut self) -> Self {
        self.may_show_keys = true;
        self
    }

    /// Runs it to its end. No key may be in what it prints.
    pub fn run(mut self) -> Ended {
        let mut child = self.command.spawn().unwrap();
        // A command that does not read its input is free to leave it.
        let _unread = child.stdin.take().unwrap().write_all(self.input.as_bytes()).is_err();
        let id = child.id();
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(child.wait_with_output().unwrap()));
        let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            signal(id, "KILL");
            panic!("{:?} hangs", self.command)
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ended = Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(self.may_show_keys || !ended.shows_a_key(), "a key was printed: {ended:?}");
        ended
    }

    /// Starts it, to be told to end.
    pub fn start(mut self) -> Service {
        let mut child = self.command.spawn().unwrap();
        drop(child.stdin.take());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (done, stderr) = mpsc::channel();
        let said = Arc::new(Mutex::new(String::new()));
        let saying = Arc::clone(&said);
        thread::spawn(move || {
            for line in errors.lines() {
                let line = line.unwrap();
                saying.lock().unwrap().extend([line.as_str(), "\n"]);
            }
            let all = saying.lock().unwrap().clone();
            done.send(all)
        });
        Service { child: Some(child), stdout, said, stderr }
    }
}

impl Ended {
    /// The same, if it ended with this code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// All of stdout, which is one JSON object on one line.
    #[track_caller]
    pub fn stdout_json(&self) -> Value {
        one_object(&self.stdout)
    }

    /// All of stderr, which is one JSON object on one line.
    #[track_caller]
    pub fn stderr_json(&self) -> Value {
        one_object(&self.stderr)
    }

    fn shows_a_key(&self) -> bool {
        [KEY, OPERATOR_KEY].iter().any(|key| self.stdout.contains(&key[2..]) || self.stderr.contains(&key[2..]))
    }
}

impl Service {
    /// The next line that it prints on stdout.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// The start-up facts of a command that was asked for JSON. It listens when it has printed them.
    #[track_caller]
    pub fn facts(&mut self) -> Value {
        let line = self.line();
        if line.is_empty() {
            let child = self.child.take().unwrap();
            let code = child.wait_with_output().unwrap().status.code();
            panic!("it ended with {code:?}: {}", self.stderr.recv().unwrap());
        }
        one_object(&line)
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub fn until_said(&self, text: &str) {
        let begun = Instant::now();
        while !self.said.lock().unwrap().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not said, but {:?}", self.said.lock().unwrap());
            thread::yield_now();
        }
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().unwrap().id(), name);
    }

    /// What it leaves behind after a signal.
    pub fn end(self, name: &str) -> Ended {
        self.signal(name);
        self.ended()
    }

    /// What it leaves behind once it has been told to end.
    pub fn ended(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        let id = child.id();
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(child.wait().unwrap()));
        let status = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            signal(id, "KILL");
            panic!("it does not end")
        });
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        Ended { code: status.code(), stdout, stderr: self.stderr.recv().unwrap() }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended_already = child.kill().is_err();
            let _status = child.wait();
        }
    }
}

/// A folder of one test alone, gone with it; `name` keeps it apart from other tests'.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of something in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Status and body of a GET, over a connection of its own.
pub fn get(url: &str) -> (u16, String) {
    ask("GET", url, &[], "").unwrap()
}

/// Status and body of a POST of JSON; `None` if the connection ended without an answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Option<(u16, Value)> {
    let (status, body) = ask("POST", url, headers, &body.to_string())?;
    Some((status, serde_json::from_str(&body).unwrap()))
}

/// Status and body of a request; `None` if the connection ended without an answer.
pub fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Option<(u16, String)> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let length = body.len();
    let head =
        format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}");
    write!(stream, "{head}\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

#[track_caller]
fn one_object(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "expected one line, got {text:?}");
    serde_json::from_str(text).unwrap()
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap();
    assert!(status.success());
}
