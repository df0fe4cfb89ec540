//! A PostgreSQL server for tests, from the machine's own package.
//!
//! 1. All tests of a machine share one server, for starting one takes seconds and a runner may give each test a process
//!    of its own. It lives in a folder of the system's temporary directory; whoever needs it first starts it.
//! 2. Every process that uses it holds a shared lock on a file there, which the system gives up when the process ends,
//!    however it ends. A small watchdog looks for that lock, and stops the server and removes the folder when nobody has
//!    held it for some seconds.
//! 3. A test that stops and starts its server has one of its own ([`Server::own`]), under the same watchdog.
//!
//! These functions wait for programs; they are no part of a runtime.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

type Error = Box<dyn std::error::Error + Send + Sync>;

const WATCHDOG: &str = include_str!("postgres/watchdog.sh");

/// After how many seconds without a user a server is stopped.
const IDLE_SECONDS_MAX: &str = "15";

const CONNECTIONS_MAX: u32 = 400;

/// How often a port is looked for that is still free when the server takes it.
const START_TRIES_MAX: u32 = 5;

/// A running server.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    is_own: bool,
    /// Held for as long as the server is used.
    _user: File,
}

/// A fresh database, which is dropped with this.
#[derive(Debug)]
pub struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// On the server that all tests share. It does not sync its disk, for it is never meant to survive its machine.
    pub fn new() -> Result<Self, Error> {
        static SHARED: OnceLock<Result<Arc<Server>, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let name = format!("farthing-test-postgres-{}", user()?);
            Server::start(std::env::temp_dir().join(name), false).map(Arc::new).map_err(|error| error.to_string())
        });
        Self::on(shared.as_ref().map_err(Clone::clone)?)
    }

    /// On a certain server.
    pub fn on(server: &Arc<Server>) -> Result<Self, Error> {
        let database = Self { server: Arc::clone(server), name: unique("farthing") };
        database.server.client("createdb", &[&database.name])?;
        Ok(database)
    }

    /// Where it is, for those who connect.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.server.port, self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What is left goes with the server.
        let _ = self.server.client("dropdb", &["--force", "--if-exists", &self.name]);
    }
}

impl Server {
    /// A server for one test alone, which syncs its disk. It ends when it is dropped.
    pub fn own() -> Result<Arc<Self>, Error> {
        Self::start(std::env::temp_dir().join(unique("farthing-test-postgres-own")), true).map(Arc::new)
    }

    /// Stops it: at once and without saying goodbye, or after its sessions were told.
    pub fn stop(&self, at_once: bool) -> Result<(), Error> {
        run(&mut control(&self.programs, &self.folder, if at_once { "stop -m immediate" } else { "stop -m fast" }))
    }

    /// Starts it again, on the same port.
    pub fn start_again(&self) -> Result<(), Error> {
        run(&mut control(&self.programs, &self.folder, "start"))
    }

    fn start(folder: PathBuf, is_own: bool) -> Result<Self, Error> {
        let programs = programs()?;
        let starting = lock_folder(&folder)?;
        let port = match running(&folder) {
            Some(port) => port,
            None => create(&folder, &programs, is_own)?,
        };
        let user = open(&folder.join("users.lock"))?;
        user.lock_shared()?;
        match open(&folder.join("watchdog.lock"))?.try_lock() {
            Ok(()) => watch(&folder, &programs)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        drop(starting);
        Ok(Self { folder, programs, port, is_own, _user: user })
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Result<(), Error> {
        let mut command = Command::new(self.programs.join(program));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]).args(arguments);
        run(&mut command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_own {
            // The watchdog is there for what fails here.
            let _ = self.stop(true);
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Where the server's programs are; Debian keeps them out of the path.
fn programs() -> Result<PathBuf, Error> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, newest)) = found.pop() {
        return Ok(newest);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()).ok_or_else(|| {
        "PostgreSQL is not installed, and these tests need a real one (13 or newer, with initdb and pg_ctl). \
         On Debian: apt-get install postgresql; or run `cargo xtask test`, which does it"
            .into()
    })
}

/// Nobody else starts or stops the server while this is held.
fn lock_folder(folder: &Path) -> Result<File, Error> {
    loop {
        fs::create_dir_all(folder)?;
        let file = match open(&folder.join("start.lock")) {
            // The watchdog removed the folder meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        file.lock()?;
        // It may have removed this very file, too.
        if fs::metadata(folder.join("start.lock")).is_ok_and(|there| file.metadata().is_ok_and(|it| it.ino() == there.ino())) {
            return Ok(file);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

/// The port of the server in the folder, if it runs.
fn running(folder: &Path) -> Option<u16> {
    let port = fs::read_to_string(folder.join("port")).ok()?.parse().ok()?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(port)
}

/// Makes a database cluster in the folder and starts it; returns its port.
fn create(folder: &Path, programs: &Path, sync: bool) -> Result<u16, Error> {
    let data = folder.join("data");
    // What is left of a server that was killed.
    let _ = control(programs, folder, "stop -m immediate").status();
    let _ = fs::remove_dir_all(&data);
    fs::create_dir(&data)?;
    if is_root()? {
        // The server refuses to run as root.
        run(Command::new("chown").arg("postgres").arg(&data))?;
    }
    let initdb = programs.join("initdb");
    let (initdb, data_text) = (initdb.display(), data.display());
    run(&mut as_server(&format!("'{initdb}' -D '{data_text}' -U postgres -A trust -E UTF8 --no-locale --no-sync")))?;
    let mut last = None;
    for _ in 0..START_TRIES_MAX {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let durable = if sync { "on" } else { "off" };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{data_text}'\n\
             max_connections = {CONNECTIONS_MAX}\nfsync = {durable}\nfull_page_writes = {durable}\n\
             synchronous_commit = {durable}\n"
        );
        fs::write(data.join("postgresql.auto.conf"), settings)?;
        match run(&mut control(programs, folder, "start")) {
            Ok(()) => {
                fs::write(folder.join("port"), port.to_string())?;
                return Ok(port);
            }
            // Somebody else took the port.
            Err(error) => last = Some(error),
        }
    }
    let log = fs::read_to_string(data.join("log")).unwrap_or_default();
    Err(format!("PostgreSQL does not start ({}); its log: {log}", last.map(|error| error.to_string()).unwrap_or_default())
        .into())
}

/// `pg_ctl` for the server in the folder.
fn control(programs: &Path, folder: &Path, action: &str) -> Command {
    let (program, data) = (programs.join("pg_ctl"), folder.join("data"));
    let (program, data) = (program.display(), data.display());
    as_server(&format!("'{program}' -D '{data}' -l '{data}/log' -w -s {action}"))
}

/// A command as the user that the server runs as.
fn as_server(command: &str) -> Command {
    let mut shell = if is_root().unwrap_or(false) {
        let mut su = Command::new("su");
        su.args(["postgres", "-s", "/bin/sh", "-c", command]);
        su
    } else {
        let mut sh = Command::new("sh");
        sh.args(["-c", command]);
        sh
    };
    // The folder of this process may be closed to that user.
    shell.current_dir("/");
    silent(&mut shell);
    shell
}

fn watch(folder: &Path, programs: &Path) -> Result<(), Error> {
    let stop = control(programs, folder, "stop -m immediate");
    let quote = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
    let words: Vec<String> = std::iter::once(stop.get_program()).chain(stop.get_args()).map(quote).collect();
    // In a session of its own: it outlives this process, and a runner that ends the process's group.
    let mut watchdog = Command::new("setsid");
    watchdog.args(["sh", "-c", WATCHDOG, "watchdog"]).arg(folder).arg(words.join(" ")).arg(IDLE_SECONDS_MAX);
    watchdog.current_dir("/");
    silent(&mut watchdog);
    watchdog.spawn()?;
    Ok(())
}

/// A program that outlives this process must not hold its output open.
fn silent(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
}

fn run(command: &mut Command) -> Result<(), Error> {
    silent(command);
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn is_root() -> Result<bool, String> {
    user().map(|user| user == 0)
}

fn user() -> Result<u32, String> {
    // The owner of what this process makes.
    fs::metadata("/proc/self").map(|it| it.uid()).or_else(|_| effective_user())
}

fn effective_user() -> Result<u32, String> {
    let output = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| "id -u prints no number".to_owned())
}

fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
