//! A real Chromium for tests of pages: what a person sees and does there, with wallets that sign for real.
//!
//! `interop/peers/browser/` drives it; `cargo xtask peers` installs what that needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use farthing_core::Source;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

/// How long one order may take, in seconds; the browser itself waits for less.
const ORDER_SECONDS: u64 = 90;

/// How long a browser may take to end, in seconds.
const END_SECONDS: u64 = 10;

/// A browser. It ends when it is dropped, with everybody who uses it.
pub struct Browser(Arc<Driver>);

/// Somebody with a window, storage and wallets of their own, and the tab that is meant.
#[derive(Clone)]
pub struct Person {
    driver: Arc<Driver>,
    id: u64,
    tab: u64,
}

struct Driver {
    /// There until the end.
    pipes: Mutex<Option<Pipes>>,
    counter: AtomicU64,
    process: Child,
}

struct Pipes {
    orders: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Result<Self, Source> {
        let root = root()?;
        let installed = installed(&root)?;
        let mut command = Command::new("node");
        command.arg(root.join("interop/peers/browser/browser.mjs"));
        command.env("FARTHING_NODE_MODULES", installed.join("node_modules"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let orders = process.stdin.take().ok_or("the browser takes no orders")?;
        let outcomes = process.stdout.take().ok_or("the browser says nothing")?;
        let mut pipes = Pipes { orders, outcomes: BufReader::new(outcomes).lines() };
        let ready = pipes.next().await?;
        if ready.get("ready") != Some(&Value::Bool(true)) {
            return Err(format!("the browser did not start: {ready}").into());
        }
        Ok(Self(Arc::new(Driver { pipes: Mutex::new(Some(pipes)), counter: AtomicU64::new(0), process })))
    }

    /// Opens a window, with these wishes: `width`, `height`, `dark`, `still` (no motion), `scripts`, `locks`, `scale`, `rpcUrl`, and
    /// `wallets` (`{name, key, chainId, knows, isOlder, declines, waits}`).
    pub async fn open(&self, wishes: Value) -> Result<Person, Source> {
        let id = self.0.counter.fetch_add(1, Ordering::Relaxed);
        let person = Person { driver: Arc::clone(&self.0), id, tab: 0 };
        person.order("open", wishes).await?;
        Ok(person)
    }
}

impl Person {
    /// Has something done, as `interop/peers/browser/browser.mjs` lists it, and says what came of it.
    pub async fn order(&self, order: &str, mut wishes: Value) -> Result<Value, Source> {
        let id = self.driver.counter.fetch_add(1, Ordering::Relaxed);
        let fields = wishes.as_object_mut().ok_or("an order is an object")?;
        fields.extend(
            [("id", json!(id)), ("order", json!(order)), ("person", json!(self.id)), ("tab", json!(self.tab))]
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut pipes = self.driver.pipes.lock().await;
        let pipes = pipes.as_mut().ok_or("the browser has ended")?;
        pipes.orders.write_all(format!("{wishes}\n").as_bytes()).await?;
        loop {
            let mut outcome = pipes.next().await?;
            if outcome.get("id") != Some(&json!(id)) {
                continue;
            }
            if let Some(why) = outcome.get("failed") {
                return Err(format!("{order} {wishes}: {why}").into());
            }
            return Ok(outcome.get_mut("made").map(Value::take).unwrap_or_default());
        }
    }

    /// Another tab of the same window.
    pub async fn another_tab(&self) -> Result<Self, Source> {
        let tab = self.order("tab", json!({})).await?.as_u64().ok_or("a tab has a number")?;
        Ok(Self { tab, ..self.clone() })
    }

    /// Goes to a page; the status of the answer.
    pub async fn goto(&self, url: &str) -> Result<u64, Source> {
        Ok(self.order("goto", json!({"url": url})).await?.as_u64().unwrap_or_default())
    }

    /// Loads the page again; the status of the answer.
    pub async fn reload(&self) -> Result<u64, Source> {
        Ok(self.order("reload", json!({})).await?.as_u64().unwrap_or_default())
    }

    /// Clicks what a selector finds.
    pub async fn click(&self, selector: &str) -> Result<(), Source> {
        self.order("click", json!({"selector": selector})).await.map(drop)
    }

    /// Waits until a selector finds something that can be seen.
    pub async fn sees(&self, selector: &str) -> Result<(), Source> {
        self.order("wait", json!({"selector": selector})).await.map(drop)
    }

    /// Presses a key.
    pub async fn press(&self, key: &str) -> Result<(), Source> {
        self.order("press", json!({"key": key})).await.map(drop)
    }

    /// The text of what a selector finds.
    pub async fn text(&self, selector: &str) -> Result<String, Source> {
        Ok(self.order("text", json!({"selector": selector})).await?.as_str().unwrap_or_default().to_owned())
    }

    /// What an expression is worth in the page.
    pub async fn value(&self, expression: &str) -> Result<Value, Source> {
        self.order("evaluate", json!({"expression": expression})).await
    }

    /// Takes a picture of the whole page.
    pub async fn picture(&self, path: &Path) -> Result<(), Source> {
        self.order("screenshot", json!({"path": path})).await.map(drop)
    }

    /// What was asked of the network since the last time, as URLs.
    pub async fn requests(&self) -> Result<Vec<String>, Source> {
        let requests = self.order("requests", json!({})).await?;
        let urls = requests.as_array().into_iter().flatten().filter_map(|request| request.get("url")?.as_str());
        Ok(urls.map(str::to_owned).collect())
    }

    /// A list of texts: `errors`, `downloads` or `calls` (of the wallet) since the last time.
    pub async fn list(&self, order: &str) -> Result<Vec<String>, Source> {
        let list = self.order(order, json!({})).await?;
        Ok(list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect())
    }

    /// What keeps some people from using the page, by axe-core's rules, from the impact `serious` on.
    pub async fn barriers(&self) -> Result<Vec<Value>, Source> {
        let found = self.order("axe", json!({})).await?;
        let is_serious = |barrier: &Value| matches!(barrier["impact"].as_str(), Some("serious" | "critical"));
        Ok(found.as_array().into_iter().flatten().filter(|barrier| is_serious(barrier)).cloned().collect())
    }
}

impl Drop for Driver {
    /// The browser ends when nobody can order anything any more, and takes its files along; by force, if it does not.
    fn drop(&mut self) {
        drop(self.pipes.get_mut().take());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(END_SECONDS) {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Pipes {
    async fn next(&mut self) -> Result<Value, Source> {
        let line = tokio::time::timeout(Duration::from_secs(ORDER_SECONDS), self.outcomes.next_line()).await??;
        Ok(serde_json::from_str(
            &line.ok_or("the browser has ended; is Chromium installed? Debian: apt-get install chromium")?,
        )?)
    }
}

fn root() -> Result<PathBuf, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Ok(root.ok_or("testkit lies in a workspace")?.to_path_buf())
}

/// Where the packages lie that drive it.
fn installed(root: &Path) -> Result<PathBuf, Source> {
    let index = std::env::var_os("FARTHING_PEERS").map_or_else(|| root.join("target/peers.json"), PathBuf::from);
    let missing = || format!("{} does not say where the browser's peer is: run `cargo xtask peers`", index.display());
    let text = std::fs::read_to_string(&index).map_err(|_| missing())?;
    let sets: Value = serde_json::from_str(&text)?;
    Ok(sets.get("browser").and_then(Value::as_str).ok_or_else(missing)?.into())
}
