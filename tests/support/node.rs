//! A node as a child process.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{Block, ChainWalk};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use opsledger::api::wire::{Status, SubmitReceipt, SubmitRequest};
use opsledger::client::{BlockStream, Client, Follow};
use projections::tasks::TaskView;
use tokio::sync::oneshot;

use super::log::{Log, Logged};
use super::{DEADLINE, Ledger, id, text};

/// A node that leads. Dropping it kills it.
pub struct Node {
    pub socket: PathBuf,
    pub client: Client,
    pub term: u64,
    child: Child,
    stderr: Stderr,
}

/// A node that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

/// What a node says, kept as it comes.
struct Stderr {
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stderr {
    /// Reads until the end; `led` is told of the line that says that the node leads.
    fn read(child: &mut Child, led: impl FnOnce(String) + Send + 'static) -> Self {
        let said = Arc::new(Mutex::new(String::new()));
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let (kept, mut led) = (Arc::clone(&said), Some(led));
        let reader = std::thread::spawn(move || {
            for line in pipe.split(b'\n').map_while(Result::ok) {
                let line = text(&line);
                if line.contains(" leads in term ")
                    && let Some(led) = led.take()
                {
                    led(line.clone());
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self {
            said,
            reader: Some(reader),
        }
    }

    /// All of it; the node has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.said.lock().unwrap().clone()
    }
}

impl Node {
    pub(super) async fn up(ledger: &Ledger) -> Self {
        Self::start(&mut ledger.command(&["up"])).await
    }

    /// Starts a node by a command of one's own.
    pub async fn start(command: &mut Command) -> Self {
        match Self::try_start(command).await {
            Ok(node) => node,
            Err(ended) => panic!("the node does not lead: {ended:?}"),
        }
    }

    /// Starts a node that may end before it leads.
    pub async fn try_start(command: &mut Command) -> Result<Self, Ended> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (led, line) = oneshot::channel();
        let mut stderr = Stderr::read(&mut child, |line| drop(led.send(line)));
        let Ok(Ok(line)) = tokio::time::timeout(DEADLINE, line).await else {
            // Nothing to do if it has ended by itself.
            let _ = child.kill();
            let status = child.wait().unwrap();
            let stderr = stderr.all();
            return Err(Ended { status, stderr });
        };
        let (_, rest) = line.split_once(" leads in term ").unwrap();
        let (term, socket) = rest.split_once("; its socket is ").unwrap();
        let socket = PathBuf::from(socket);
        Ok(Self {
            client: Client::connect(&socket).await.unwrap(),
            term: term.parse().unwrap(),
            socket,
            child,
            stderr,
        })
    }

    /// The node's process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Has it stand still, with all of its threads.
    pub fn stand_still(&self) {
        let pid = Pid::from_raw(self.pid());
        kill(pid, Signal::SIGSTOP).unwrap();
        // Said once the last thread has stopped.
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    }

    /// Its spawner's process id.
    pub fn spawner(&self) -> i32 {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let threads = format!("/proc/{}/task", self.pid());
        let of_main = std::fs::read_to_string(children).unwrap();
        let mut all: Vec<i32> = of_main
            .split_whitespace()
            .map(|p| p.parse().unwrap())
            .collect();
        for thread in std::fs::read_dir(threads).unwrap() {
            let of_thread = std::fs::read_to_string(thread.unwrap().path().join("children"));
            all.extend(
                of_thread
                    .unwrap()
                    .split_whitespace()
                    .map(|p| p.parse::<i32>().unwrap()),
            );
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1, "a node has one child, its spawner: {all:?}");
        all[0]
    }

    /// Kills the node as a crash would, and waits for its end.
    pub fn crash(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Asks the node to stop, and waits for its end.
    pub fn stop(mut self) -> Ended {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        self.wait()
    }

    /// Asks the node to stop, which it must do in good order.
    pub fn stop_well(self) {
        let ended = self.stop();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Ended {
        Ended {
            status: self.child.wait().unwrap(),
            stderr: self.stderr.all(),
        }
    }

    /// Submits a task that must be taken.
    pub async fn submit(&self, request: SubmitRequest) -> SubmitReceipt {
        self.client.submit(&request).await.unwrap()
    }

    /// Submits a task and waits for its end.
    pub async fn run(&self, request: SubmitRequest) -> TaskView {
        let receipt = self.submit(request).await;
        self.end_of(&receipt.task_id).await
    }

    /// Waits for a task's end.
    pub async fn end_of(&self, task: &str) -> TaskView {
        let waited = tokio::time::timeout(DEADLINE, self.client.wait(&id(task))).await;
        waited.expect("the task does not end").unwrap()
    }

    /// A task as it is now.
    pub async fn task(&self, task: &str) -> TaskView {
        self.client.task(&id(task), None).await.unwrap()
    }

    /// The node's status.
    pub async fn status(&self) -> Status {
        self.client.status(None).await.unwrap()
    }

    /// What is in the log, read through the node.
    pub async fn log(&self) -> Log {
        let ledger_id = self.client.head().await.unwrap().ledger_id;
        let mut blocks = self.client.blocks(Seq::FIRST, Follow::No).await.unwrap();
        let mut walk = Tail::new(ledger_id);
        let mut all = Vec::new();
        while let Some(block) = blocks.next().await.unwrap() {
            all.extend(walk.take(block));
        }
        Log(all)
    }

    /// Follows the log from an event on.
    pub async fn follow(&self, from: u64) -> Follower {
        Follower::of(&self.client, from).await
    }

    /// Waits for the first event in the log that is wanted.
    pub async fn event(&self, wanted: impl Fn(&Logged) -> bool) -> Logged {
        self.follow(1).await.find(wanted).await
    }

    /// Waits until the node has taken up what it found.
    pub async fn recovered(&self) -> Logged {
        self.event(|e| e.kind == "recovery.completed" && e.term == self.term)
            .await
    }

    /// Waits until a task has a process, and returns the event that says so.
    pub async fn registered(&self, task: &str, attempt: u32) -> Logged {
        self.event(|e| {
            e.kind == "process.registered" && e.data["task"] == task && e.data["attempt"] == attempt
        })
        .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events out of blocks, each once and only from `next` on.
struct Tail {
    ledger: LedgerId,
    next: u64,
}

impl Tail {
    fn new(ledger: LedgerId) -> Self {
        Self { ledger, next: 1 }
    }

    fn take(&mut self, bytes: Vec<u8>) -> Vec<Logged> {
        let block = Block::parse(bytes).unwrap();
        let events = ChainWalk::new(self.ledger)
            .check(&block, Seq(self.next))
            .unwrap()
            .iter()
            .map(Logged::from)
            .collect::<Vec<_>>();
        for event in &events {
            assert_eq!(event.seq, self.next, "a gap or a repeat");
            self.next += 1;
        }
        events
    }
}

/// Reads events as they come.
pub struct Follower {
    blocks: BlockStream,
    tail: Tail,
    ready: Vec<Logged>,
    /// What ended the stream, if it did not end well.
    pub broke: Option<String>,
}

impl Follower {
    /// Follows the log of a leader from an event on.
    pub async fn of(client: &Client, from: u64) -> Self {
        let ledger_id = client.head().await.unwrap().ledger_id;
        Self {
            blocks: client.blocks(Seq(from), Follow::Yes).await.unwrap(),
            tail: Tail {
                next: from,
                ..Tail::new(ledger_id)
            },
            ready: Vec::new(),
            broke: None,
        }
    }

    /// The next event; nothing once the node has ended the stream.
    pub async fn next(&mut self) -> Option<Logged> {
        while self.ready.is_empty() {
            let block = tokio::time::timeout(DEADLINE, self.blocks.next()).await;
            let block = match block.expect("no event comes") {
                Ok(block) => block?,
                // The stream of a node that was killed.
                Err(error) => {
                    self.broke = Some(error.to_string());
                    return None;
                }
            };
            self.ready = self.tail.take(block);
        }
        Some(self.ready.remove(0))
    }

    /// The next event that is wanted.
    pub async fn find(&mut self, wanted: impl Fn(&Logged) -> bool) -> Logged {
        loop {
            let event = self.next().await.expect("the node ended the stream");
            if wanted(&event) {
                return event;
            }
        }
    }
}

/// Runs a node that must end by itself, not well.
pub fn fails_to_start(command: &mut Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (led, line) = std::sync::mpsc::channel();
    let mut stderr = Stderr::read(&mut child, move |line| drop(led.send(line)));
    // Either comes: a node that leads, or the end of what it has to say.
    if let Ok(line) = line.recv() {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it should have refused: {line}");
    }
    let status = child.wait().unwrap();
    let stderr = stderr.all();
    assert!(!status.success(), "{stderr}");
    assert_eq!(status.signal(), None, "{stderr}");
    Ended { status, stderr }
}

/// Whether a socket is still there.
pub fn has_socket(dir: &Path) -> bool {
    dir.join("run/primary.sock").exists()
}
