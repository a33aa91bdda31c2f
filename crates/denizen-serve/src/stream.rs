//! An accepted connection whose client must go on reading.
//!
//! A write that the client does not take keeps the connection, and what it was to be sent. So the time that writes
//! wait is counted: more than the limit, and a second more for each [`PACE`] bytes that went out meanwhile, and
//! the connection ends. The count starts anew with each request.
//!
//! Touches its socket. Tests: `tests.rs` beside `lib.rs`.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that a client must take in a second to be waited for.
pub(crate) const PACE: u32 = 64 * 1024;

/// An accepted connection.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    /// The longest that writes wait.
    wait: Duration,
    /// How long they have waited since the last request, and what went out after the first wait.
    waited: Duration,
    written: usize,
    /// Since when a write waits, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Set when the next request begins.
    begun: Arc<AtomicBool>,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, wait: Duration, begun: Arc<AtomicBool>) -> Self {
        Self { tcp, wait, waited: Duration::ZERO, written: 0, waiting: None, begun }
    }

    /// Reads the next bytes and leaves them to be read again.
    ///
    /// # Errors
    /// The socket's.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.peek(buffer).await
    }

    /// What the connection is made on.
    pub fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    /// Notes how a write went, and ends the connection when it has waited for too long.
    fn written(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.begun.swap(false, Ordering::Relaxed) {
            (self.waited, self.written) = (Duration::ZERO, 0);
        }
        match wrote {
            Poll::Ready(Ok(bytes)) => {
                if let Some((since, _)) = self.waiting.take() {
                    self.waited += since.elapsed();
                }
                // What the kernel's buffers took before the first wait was not taken by the client.
                if !self.waited.is_zero() {
                    self.written = self.written.saturating_add(bytes);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let earned = Duration::from_secs(u64::try_from(self.written).unwrap_or(0) / u64::from(PACE));
                let left = (self.wait + earned).saturating_sub(self.waited);
                let (_, timer) = self.waiting.get_or_insert_with(|| {
                    let now = Instant::now();
                    (now, Box::pin(sleep_until(now + left)))
                });
                ready!(timer.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.tcp).poll_write(context, bytes);
        this.written(context, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.tcp).poll_write_vectored(context, parts);
        this.written(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
