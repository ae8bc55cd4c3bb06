//! The disk as a running process sees it: what was written shows at once. Calls can be made to fail
//! and to wait.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ::redb::StorageBackend;

use super::{Image, Name, Platter, SECTOR};
use crate::store::journal::{SegmentDir, SegmentFile};
use crate::store::redb::{HeadFile, HeadFileFault, Source};

/// Something that was done to the disk. Files are numbered; a name can stand for one after another.
#[derive(Debug, Clone)]
pub enum Op {
    /// The sectors from this byte on as they are after a write.
    Write(usize, usize, Arc<[u8]>),
    /// The file was cut or grown.
    SetLen(usize, usize),
    /// What was written to the file is on disk.
    Sync(usize),
    /// The file's sync failed.
    FailedSync(usize),
    /// A new file got this name.
    Create(Name, usize),
    /// A name went.
    Remove(Name),
    /// All names are on disk.
    SyncNames,
}

/// Which calls fail, once it is time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    /// One call.
    Once,
    /// All calls.
    ForGood,
    /// All syncs; what is written shows.
    Syncs,
    /// The syncs of one file.
    SyncsOf(Name),
    /// Calls that need more room.
    Growth,
}

#[derive(Debug, Clone)]
struct Plan {
    /// Calls that still work.
    left: usize,
    fails: Fails,
    kind: io::ErrorKind,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// What was there before anything of the record was done.
    base: Arc<Image>,
    files: Vec<Vec<u8>>,
    names: BTreeMap<Name, usize>,
    ops: Vec<Op>,
    plan: Option<Plan>,
    /// Whether reading is a call that can fail.
    reads_fail: bool,
    /// Operations done when the first call failed.
    failed_at: Option<usize>,
    /// The first file of which a call failed.
    failed_on: Option<Name>,
    /// Syncs of this file wait.
    held: Option<Name>,
    /// Syncs are acknowledged and not carried out.
    lies: bool,
}

/// A disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

/// What somebody wants done.
#[derive(Clone, Copy)]
enum Call<'a> {
    Read,
    Write(usize, usize, &'a [u8]),
    SetLen(usize, usize),
    Sync(usize),
    Create(Name),
    Remove(Name),
    SyncNames,
}

impl Disk {
    /// A disk on which these files are, durably.
    pub fn holding(image: &Image) -> Self {
        let disk = Self::default();
        {
            let mut state = disk.state();
            state.base = Arc::new(image.clone());
            state.files = image.values().cloned().collect();
            state.names = image.keys().copied().zip(0..).collect();
        }
        disk
    }

    /// Another disk in the same state, with the same record: what a process leaves that is killed
    /// now. Nothing fails on it.
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.plan = None;
        state.held = None;
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            released: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What panics here is a test, whose panic is what counts.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk as it was when `at` operations were done, with the record up to there: what a
    /// process leaves that is killed in the middle of a call. Nothing fails on it.
    pub fn killed_at(&self, at: usize) -> Self {
        let state = self.state();
        let mut before = State {
            base: Arc::clone(&state.base),
            files: state.base.values().cloned().collect(),
            names: state.base.keys().copied().zip(0..).collect(),
            lies: state.lies,
            ..State::default()
        };
        for op in &state.ops[..at.min(state.ops.len())] {
            before.redo(op);
        }
        Self(Arc::new(Shared {
            state: Mutex::new(before),
            released: Condvar::new(),
        }))
    }

    /// What is left if the power fails when `at` operations are done; of everything that may or may
    /// not be there, `keep` says what is.
    pub fn power_failed_at(&self, at: usize, keep: &mut dyn FnMut() -> bool) -> Image {
        let state = self.state();
        let mut platter = Platter::new(&state.base, &state.ops);
        platter.advance(at.min(state.ops.len()));
        platter.image(keep)
    }

    /// From now on syncs are acknowledged and not carried out.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// The files as a process sees them.
    pub fn live(&self) -> Image {
        let state = self.state();
        let files = |(&name, &file): (&Name, &usize)| (name, state.files[file].clone());
        state.names.iter().map(files).collect()
    }

    /// How many operations were done.
    pub fn ops(&self) -> usize {
        self.state().ops.len()
    }

    /// All that was done.
    pub fn record(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    /// Lets calls fail after this many more that change something.
    pub fn fail_after(&self, calls: usize, fails: Fails, kind: io::ErrorKind) {
        let mut state = self.state();
        state.plan = Some(Plan {
            left: calls,
            fails,
            kind,
        });
    }

    /// Counts reads among the calls that can fail.
    pub fn reads_fail_too(&self) {
        self.state().reads_fail = true;
    }

    /// Everything works again. Returns at which operation the first call failed, if any did.
    pub fn heal(&self) -> Option<usize> {
        let mut state = self.state();
        state.plan = None;
        state.failed_at.take()
    }

    /// Whether a call has failed.
    pub fn has_failed(&self) -> bool {
        self.state().failed_at.is_some()
    }

    /// The first file of which a call failed.
    pub fn failed_on(&self) -> Option<Name> {
        self.state().failed_on
    }

    /// Lets syncs of a file wait.
    pub fn hold(&self, name: Name) {
        self.state().held = Some(name);
    }

    /// Lets them go on.
    pub fn release(&self) {
        self.state().held = None;
        self.0.released.notify_all();
    }

    /// The file of this name, which is there.
    pub(crate) fn file(&self, name: Name) -> SimFile {
        let file = self.state().names[&name];
        SimFile {
            disk: self.clone(),
            file,
        }
    }

    /// A new, empty file.
    pub(crate) fn create(&self, name: Name) -> io::Result<SimFile> {
        self.change(Call::Create(name))?;
        Ok(self.file(name))
    }

    /// The directory of segments.
    pub(crate) fn folder(&self) -> Folder {
        Folder { disk: self.clone() }
    }

    /// What the head file says.
    pub(crate) fn head_file(&self) -> Result<HeadFile, HeadFileFault> {
        let state = self.state();
        let file = *state.names.get(&Name::Head).ok_or(HeadFileFault::Missing)?;
        HeadFile::decode(&state.files[file])
    }

    fn change(&self, call: Call<'_>) -> io::Result<()> {
        let mut state = self.state();
        while matches!(call, Call::Sync(file) if state.is_held(file)) {
            let waited = self.0.released.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        match state.failure(call) {
            None => {
                state.carry_out(call);
                Ok(())
            }
            Some(kind) => {
                state.half_carry_out(call);
                Err(kind.into())
            }
        }
    }
}

impl State {
    fn is_held(&self, file: usize) -> bool {
        self.held
            .is_some_and(|name| self.names.get(&name) == Some(&file))
    }

    fn failure(&mut self, call: Call<'_>) -> Option<io::ErrorKind> {
        if matches!(call, Call::Read) && !self.reads_fail {
            return None;
        }
        self.plan.as_ref()?;
        let grows = match call {
            Call::Write(file, at, data) => at + data.len() > self.files[file].len(),
            Call::SetLen(file, len) => len > self.files[file].len(),
            Call::Create(_) => true,
            Call::Read | Call::Sync(_) | Call::Remove(_) | Call::SyncNames => false,
        };
        let on = match call {
            Call::Write(file, ..) | Call::SetLen(file, _) | Call::Sync(file) => Some(file),
            Call::Read | Call::Create(_) | Call::Remove(_) | Call::SyncNames => None,
        };
        let on = self.names.iter().find(|(_, file)| Some(**file) == on);
        let on = on.map(|(name, _)| *name);
        let plan = self.plan.as_mut()?;
        if plan.left > 0 {
            plan.left -= 1;
            return None;
        }
        let kind = plan.kind;
        let fails = match plan.fails {
            Fails::Once | Fails::ForGood => true,
            Fails::Syncs => matches!(call, Call::Sync(_) | Call::SyncNames),
            Fails::SyncsOf(name) => matches!(call, Call::Sync(_)) && on == Some(name),
            Fails::Growth => grows,
        };
        if !fails {
            return None;
        }
        if plan.fails == Fails::Once {
            self.plan = None;
        }
        self.failed_at.get_or_insert(self.ops.len());
        self.failed_on = self.failed_on.or(on);
        Some(kind)
    }

    fn carry_out(&mut self, call: Call<'_>) {
        match call {
            Call::Read => {}
            Call::Write(file, at, data) => self.write(file, at, data),
            Call::SetLen(file, len) => {
                self.files[file].resize(len, 0);
                self.ops.push(Op::SetLen(file, len));
            }
            Call::Sync(_) | Call::SyncNames if self.lies => {}
            Call::Sync(file) => self.ops.push(Op::Sync(file)),
            Call::Create(name) => {
                let file = self.files.len();
                self.files.push(Vec::new());
                self.names.insert(name, file);
                self.ops.push(Op::Create(name, file));
            }
            Call::Remove(name) => {
                self.names.remove(&name);
                self.ops.push(Op::Remove(name));
            }
            Call::SyncNames => self.ops.push(Op::SyncNames),
        }
    }

    /// Does again what a record says.
    fn redo(&mut self, op: &Op) {
        match op {
            Op::Write(file, at, bytes) => {
                let content = &mut self.files[*file];
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Op::SetLen(file, len) => self.files[*file].resize(*len, 0),
            Op::Create(name, file) => {
                self.files.push(Vec::new());
                self.names.insert(*name, *file);
            }
            Op::Remove(name) => {
                self.names.remove(name);
            }
            Op::Sync(_) | Op::FailedSync(_) | Op::SyncNames => {}
        }
        self.ops.push(op.clone());
    }

    /// What is done of a call that fails.
    fn half_carry_out(&mut self, call: Call<'_>) {
        match call {
            Call::Write(file, at, data) => {
                let middle = (at + data.len() / 2) / SECTOR * SECTOR;
                if middle > at {
                    self.write(file, at, &data[..middle - at]);
                }
            }
            Call::Sync(file) => self.ops.push(Op::FailedSync(file)),
            Call::Read | Call::SetLen(..) | Call::Create(_) | Call::Remove(_) | Call::SyncNames => {
            }
        }
    }

    fn write(&mut self, file: usize, at: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let bytes = &mut self.files[file];
        let end = at + data.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[at..end].copy_from_slice(data);
        let start = at / SECTOR * SECTOR;
        let stop = end.next_multiple_of(SECTOR).min(bytes.len());
        let sectors = bytes[start..stop].into();
        self.ops.push(Op::Write(file, start, sectors));
    }
}

/// A file on the disk; it goes on when its name goes.
#[derive(Debug, Clone)]
pub(crate) struct SimFile {
    disk: Disk,
    file: usize,
}

impl SimFile {
    fn length(&self) -> u64 {
        self.disk.state().files[self.file].len() as u64
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.change(Call::Read)?;
        let state = self.disk.state();
        let from = at as usize;
        let bytes = state.files[self.file].get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn put(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.disk.change(Call::Write(self.file, at as usize, data))
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.change(Call::Sync(self.file))
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fill(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(Call::SetLen(self.file, len as usize))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.flush()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)
    }
}

impl Source for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fill(offset, out)
    }
}

impl SegmentFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.fill(at, out)
    }
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.put(at, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.flush()
    }
}

/// The directory of segments; it does what the one of real files does, step by step.
#[derive(Debug)]
pub(crate) struct Folder {
    disk: Disk,
}

impl SegmentDir for Folder {
    fn list(&self) -> io::Result<Vec<u32>> {
        self.disk.change(Call::Read)?;
        let number = |name: &Name| match name {
            Name::Segment(number) => Some(*number),
            Name::Store | Name::Head => None,
        };
        Ok(self.disk.state().names.keys().filter_map(number).collect())
    }

    fn open(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
        self.disk.change(Call::Read)?;
        Ok(Box::new(self.disk.file(Name::Segment(number))))
    }

    fn create(&self, number: u32, len: u64) -> io::Result<Box<dyn SegmentFile>> {
        let name = Name::Segment(number);
        if self.disk.state().names.contains_key(&name) {
            self.disk.change(Call::Remove(name))?;
        }
        let file = self.disk.create(name)?;
        // In two steps, as a large one is.
        let half = len / 2;
        let filled = file
            .put(0, &vec![0; half as usize])
            .and_then(|()| file.put(half, &vec![0; (len - half) as usize]))
            .and_then(|()| file.flush())
            .and_then(|()| self.sync());
        match filled {
            Ok(()) => Ok(Box::new(file)),
            Err(error) => {
                let _ = self.disk.change(Call::Remove(name));
                Err(error)
            }
        }
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        self.disk.change(Call::Remove(Name::Segment(number)))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(Call::SyncNames)
    }
}
