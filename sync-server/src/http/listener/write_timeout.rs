//! The write timeout: an answer moves, or it ends. Nobody waits for a peer without end.
//!
//! Whoever asks for something and does not take it costs what was made for it. HTTP asks a body for its
//! next piece only when there is room for it, so that a body cannot notice by itself that nobody takes
//! it, nor that it should end. The task around it can: it counts the pieces, and drops the whole answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection_limits::{Busy, Connection};
use crate::feed::Ends;

/// How long a peer may take for the next piece of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most of an answer that is handed on at once. What was handed on whole is out of our hands: HTTP/2
/// keeps it until the peer's window opens, or its connection ends.
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    /// What is under way in this task.
    static EXCHANGE: Arc<Exchange>;
}

/// What a body and the task around it know of each other.
#[derive(Debug, Default)]
struct Exchange {
    /// How many pieces were handed on, times two; and one while it is the peer's turn.
    pieces: AtomicU64,
    /// What ends the answer before its time.
    ends: Mutex<Option<Ends>>,
}

impl Exchange {
    fn our_turn(&self) {
        self.pieces.fetch_and(!1, Ordering::Relaxed);
    }

    fn peers_turn(&self) {
        self.pieces.store((self.pieces.load(Ordering::Relaxed) & !1) + 3, Ordering::Relaxed);
    }

    fn ends(&self) -> MutexGuard<'_, Option<Ends>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many pieces there were, where the peer has not taken the last.
    fn waits(&self) -> Option<u64> {
        let pieces = self.pieces.load(Ordering::Relaxed);
        (pieces & 1 == 1).then_some(pieces)
    }
}

/// An answer whose pieces are counted. One that knows when it has to end brings its [`Ends`] along.
pub(super) fn measured(mut response: Response) -> http::Response<Measured> {
    let exchange = EXCHANGE.try_with(Arc::clone).unwrap_or_default();
    // Over HTTP/1.1 an earlier answer of the connection may have left its own.
    *exchange.ends() = response.extensions_mut().remove::<Ends>();
    response.map(|body| Measured { body, rest: Bytes::new(), exchange })
}

/// See [`measured`].
pub(super) struct Measured {
    body: Body,
    rest: Bytes,
    exchange: Arc<Exchange>,
}

impl Measured {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = if self.rest.len() > PIECE {
            self.rest.split_to(PIECE)
        } else {
            // A copy, so that the last piece does not keep the whole alive.
            Bytes::copy_from_slice(&std::mem::take(&mut self.rest))
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.exchange.our_turn();
        let piece = self.poll_piece(cx);
        if matches!(piece, Poll::Ready(Some(Ok(_)))) {
            self.exchange.peers_turn();
        }
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.exchange.our_turn();
    }
}

pin_project! {
    /// What HTTP has under way, given up when an answer within it makes no progress, or waits for its peer
    /// when it has to end: none then.
    pub(super) struct Watched<F> {
        #[pin]
        work: F,
        exchange: Arc<Exchange>,
        waits: Option<u64>,
        // None as long as nobody is waited for, which is nearly always.
        over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
        _busy: Busy,
    }
}

impl<F> Watched<F> {
    pub(super) fn new(work: F, busy: Busy) -> Self {
        Self { work, exchange: Arc::default(), waits: None, over: None, _busy: busy }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.project();
        if let Poll::Ready(done) = EXCHANGE.sync_scope(Arc::clone(me.exchange), || me.work.poll(cx)) {
            return Poll::Ready(Some(done));
        }
        let waits = me.exchange.waits();
        if waits != *me.waits {
            *me.waits = waits;
            *me.over = waits.map(|_| over(me.exchange.ends().clone()));
        }
        match me.over {
            Some(over) => over.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

/// When an answer that waits for its peer is over.
fn over(ends: Option<Ends>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let ended = async {
            match ends {
                Some(ends) => ends.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => tracing::debug!("an answer had to end before it was taken"),
            () = tokio::time::sleep(PATIENCE) => tracing::debug!("an answer was not taken for too long"),
        }
    })
}

/// Runs the streams of one HTTP/2 connection.
#[derive(Debug, Clone)]
pub(super) struct Streams(pub(super) Arc<Connection>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        tokio::spawn(Watched::new(work, self.0.busy()));
    }
}

/// A socket whose peer has to take what is written, sooner or later.
pub(super) struct Patient {
    stream: TcpStream,
    /// None as long as it does.
    over: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, over: None }
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.over = None;
            return written;
        }
        let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        over.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
