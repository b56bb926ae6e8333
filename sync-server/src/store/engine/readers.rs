//! The reader pool: the threads that read, each with a connection of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::{AccessScope, Connection, Purpose, Source, Tx};
use crate::store::{Ambient, DatabaseKey, StoreError};

/// How many pieces of work may wait; who comes later waits to be let in.
const QUEUE: usize = 1_024;
/// The fewest readers: one more than a person has requests under way (`quota`), so that none has them all.
const FEWEST: usize = 5;
/// And the most, on as many cores.
const MOST: usize = 8;

/// Answers whoever waits, and says whether the connection is to be opened anew.
type Job = Box<dyn FnOnce(&Tx<'_>) -> bool + Send>;
type Queue = Arc<Mutex<mpsc::Receiver<Option<Job>>>>;

/// Where work for the readers is sent.
#[derive(Debug)]
pub(super) struct Readers {
    sender: mpsc::Sender<Option<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(path: &Path, key: &DatabaseKey, ambient: &Ambient) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let queue: Queue = Arc::new(Mutex::new(receiver));
        let count =
            std::thread::available_parallelism().map_or(FEWEST, |cores| cores.get().clamp(FEWEST, MOST));
        let mut threads = Vec::with_capacity(count);
        for at in 0..count {
            let source = Source::new(path, key, ambient, Purpose::Read);
            let connection = source.open()?;
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name(format!("store-reader-{at}"))
                .spawn(move || read_all(&queue, connection, &source))
                .map_err(|_| StoreError::Closed)?;
            threads.push(thread);
        }
        Ok(Self { sender, threads: Mutex::new(threads) })
    }

    pub(super) async fn run<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            // Who has gone is not read for: otherwise a thousand questions, asked and hung up on, hold up everybody.
            if reply.is_closed() {
                return false;
            }
            let work = || tx.within(access, |tx| one_state(tx, work));
            let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Broken));
            let gave_up = outcome.as_ref().err().is_some_and(StoreError::is_unreadable);
            let _ = reply.send(outcome);
            gave_up
        });
        self.sender.send(Some(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Lets everything before it finish.
    pub(super) fn close(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..threads.len() {
            while let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(None) {
                std::thread::yield_now();
            }
        }
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn read_all(queue: &Queue, mut connection: Connection, source: &Source) {
    let mut gave_up = false;
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Some(job)) = job else { return };
        gave_up = gave_up && !source.revive(&mut connection);
        gave_up |= job(&Tx::new(&connection, &source.ambient));
        connection.enter(AccessScope::Nothing);
        // If the work broke off in the middle.
        let _ = connection.roll_back();
    }
}

fn one_state<T>(tx: &Tx<'_>, work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
    tx.connection.begin_reading()?;
    let outcome = work(tx);
    tx.connection.roll_back()?;
    outcome
}
