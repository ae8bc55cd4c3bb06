//! A node as a child process that may lead or stand by, and says which.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::api::wire::NodeStanding;
use opsledger::client::Client;
use tokio::sync::mpsc;

use super::{DEADLINE, Ledger, text};

/// A node. Dropping it kills it.
pub struct Member {
    pub name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    heard: Vec<String>,
    /// Lines before this one were waited for.
    at: usize,
    socket: PathBuf,
}

impl Member {
    /// Starts a node and returns at once.
    pub fn spawn(ledger: &Ledger, name: &str) -> Self {
        Self::of(ledger.command(&["up", "--node", name]), ledger, name)
    }

    /// Starts a node by a command of one's own.
    pub fn of(mut command: Command, ledger: &Ledger, name: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let (tell, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in pipe.split(b'\n').map_while(Result::ok) {
                let _ = tell.send(text(&line));
            }
        });
        Self {
            name: name.to_owned(),
            child,
            lines,
            heard: Vec::new(),
            at: 0,
            socket: ledger.dir.join("run").join(format!("{name}.sock")),
        }
    }

    /// Starts a node and waits until it leads.
    pub async fn leader(ledger: &Ledger, name: &str) -> Self {
        let mut member = Self::spawn(ledger, name);
        member.leads().await;
        member
    }

    /// Starts a node and waits until it stands by.
    pub async fn standby(ledger: &Ledger, name: &str) -> Self {
        let mut member = Self::spawn(ledger, name);
        member.says(" stands by; ").await;
        member
    }

    /// Waits for a line that has this in it.
    pub async fn says(&mut self, wanted: &str) -> String {
        // Who waits may be dropped and another one wait for the same line.
        loop {
            let mut fresh = self.heard.iter().enumerate().skip(self.at);
            if let Some((at, line)) = fresh.find(|(_, line)| line.contains(wanted)) {
                self.at = at + 1;
                return line.clone();
            }
            let line = tokio::time::timeout(DEADLINE, self.lines.recv()).await;
            let Ok(Some(line)) = line else {
                panic!("{} never says {wanted:?}: {:#?}", self.name, self.heard);
            };
            self.heard.push(line);
        }
    }

    /// Waits until it leads; returns its term.
    pub async fn leads(&mut self) -> u64 {
        let line = self.says(" leads in term ").await;
        let (_, rest) = line.split_once(" leads in term ").unwrap();
        rest.split_once(';').unwrap().0.parse().unwrap()
    }

    /// Waits until it leads, or has ended without.
    pub async fn leads_or_ends(&mut self) -> bool {
        while let Some(line) = tokio::time::timeout(DEADLINE, self.lines.recv())
            .await
            .expect("it neither leads nor ends")
        {
            let leads = line.contains(" leads in term ");
            self.heard.push(line);
            if leads {
                return true;
            }
        }
        false
    }

    /// Its API.
    pub async fn client(&self) -> Client {
        Client::connect(&self.socket).await.unwrap()
    }

    /// What it says of itself.
    pub async fn standing(&self) -> NodeStanding {
        self.client().await.node().await.unwrap()
    }

    /// What it says of itself once it can be reached, for nodes whose socket was removed.
    pub async fn reached(&self) -> NodeStanding {
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                if let Ok(client) = Client::connect(&self.socket).await {
                    return client.node().await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("nobody listens")
    }

    /// Waits until it says of itself what is wanted. It answers at once, so asking is the wait.
    pub async fn stands(&self, wanted: impl Fn(&NodeStanding) -> bool) -> NodeStanding {
        let waited = tokio::time::timeout(DEADLINE, async {
            let client = self.client().await;
            loop {
                let standing = client.node().await.unwrap();
                if wanted(&standing) {
                    return standing;
                }
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("it never stands so")
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// The same, though it may have ended.
    pub fn signal_if_there(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Kills it as a crash would.
    pub fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to stop, which it must do in good order.
    pub fn stop_well(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{:#?}", self.heard);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
