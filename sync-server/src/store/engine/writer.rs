//! The group-commit writer: the one thread that writes. Whatever waits when it comes round is committed together: one
//! fsync for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::{AccessScope, Committed, Connection, OnCommit, Source, Tx};
use crate::store::StoreError;

/// How many pieces of work may wait; who comes later waits to be let in.
const QUEUE: usize = 1_024;
/// How many are committed together at most; fewer when the group has had its time. It bounds how long the
/// first waits for the last.
const GROUP: usize = 256;

/// Where work for the writer is sent.
#[derive(Debug)]
pub(super) struct Writer {
    sender: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Work(Box<dyn Job>),
    Close,
}

/// A piece of work with somebody waiting for its answer.
trait Job: Send {
    /// Runs within the group's transaction, which is its own so far when it is the first.
    fn run(&mut self, tx: &Tx<'_>, is_first: bool);
    /// Why it failed by itself.
    fn failure(&self) -> Option<&StoreError>;
    /// Answers, now that the group is durable, or says why it is not.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct Pending<T, F> {
    access: AccessScope,
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>, is_first: bool) {
        let Some(work) = self.work.take() else { return };
        // Everything the work may leave half-done is rolled back.
        let guarded =
            |tx: &Tx<'_>| catch_unwind(AssertUnwindSafe(|| work(tx))).unwrap_or(Err(StoreError::Broken));
        let reached = |tx: &Tx<'_>| tx.within(self.access, guarded);
        self.outcome = Some(if is_first { tx.first_job(reached) } else { tx.job(reached) });
    }

    fn failure(&self) -> Option<&StoreError> {
        self.outcome.as_ref()?.as_ref().err()
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let outcome = match (failure, self.outcome) {
            (None, Some(outcome)) => outcome,
            // It failed by itself, and for a better reason than the group.
            (Some(_), Some(Err(own))) => Err(own),
            (Some(failure), _) => Err(failure),
            (None, None) => Err(StoreError::Broken),
        };
        // Whoever asked may be gone; the write stands.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    pub(super) fn start(source: Source, on_commit: OnCommit) -> Result<Self, StoreError> {
        let connection = source.open()?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_groups(receiver, connection, &source, &on_commit))
            .map_err(|_| StoreError::Closed)?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn run<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (message, answer) = pending(access, work);
        self.sender.send(message).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn run_blocking<T, F>(&self, access: AccessScope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (message, answer) = pending(access, work);
        self.sender.blocking_send(message).map_err(|_| StoreError::Closed)?;
        answer.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Lets everything before it finish.
    pub(super) fn close(&self) {
        // A send that would block cannot block for long: the thread is at work on what fills the queue.
        while let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(Message::Close) {
            std::thread::yield_now();
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

fn pending<T, F>(access: AccessScope, work: F) -> (Message, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Message::Work(Box::new(Pending { access, work: Some(work), outcome: None, reply })), answer)
}

fn write_groups(
    mut receiver: mpsc::Receiver<Message>,
    mut connection: Connection,
    source: &Source,
    on_commit: &OnCommit,
) {
    let (mut open, mut gave_up) = (true, false);
    while open {
        let Some(Message::Work(first)) = receiver.blocking_recv() else { break };
        gave_up = gave_up && !source.revive(&mut connection);
        let tx = Tx::new(&connection, &source.ambient);
        let mut group = Vec::with_capacity(1);
        let mut outcome = connection.begin().map_err(StoreError::from);
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            if outcome.is_ok() {
                job.run(&tx, group.is_empty());
                // Some failures (a full disk, say) end the whole transaction.
                if !connection.in_transaction() {
                    outcome = Err(StoreError::NotDurable("the transaction was given up".to_owned()));
                }
            }
            group.push(job);
            if group.len() < GROUP && !tx.is_spent() {
                match receiver.try_recv() {
                    Ok(Message::Work(job)) => next = Some(job),
                    Ok(Message::Close) => open = false,
                    Err(_) => {}
                }
            }
        }
        let outcome = outcome.and_then(|()| commit(&connection));
        let failures = group.iter().filter_map(|job| job.failure()).chain(outcome.as_ref().err());
        let mut was_full = None;
        for failure in failures {
            gave_up |= failure.is_unreadable();
            if matches!(failure, StoreError::Full) {
                was_full = Some(tx.now());
            }
        }
        on_commit(&Committed {
            is_durable: outcome.is_ok(),
            identities_moved: tx.identities_moved.get(),
            was_full,
            events: tx.events.into_inner(),
        });
        answer(group, outcome);
    }
    receiver.close();
    connection.fold();
}

fn commit(connection: &Connection) -> Result<(), StoreError> {
    let done = connection.commit();
    if done.is_err() {
        connection.roll_back()?;
    }
    Ok(done?)
}

fn answer(group: Vec<Box<dyn Job>>, outcome: Result<(), StoreError>) {
    let failure = outcome.err();
    for job in group {
        job.answer(failure.as_ref().map(for_each_of_a_group));
    }
}

/// Everybody in a group that did not become durable hears the same.
fn for_each_of_a_group(error: &StoreError) -> StoreError {
    if matches!(error, StoreError::Full) {
        StoreError::Full
    } else {
        StoreError::NotDurable(error.to_string())
    }
}
