//! The body of a request: read whole, within a size, a time and the budget's memory.
//!
//! What came is copied into one buffer. The parts that hyper gives keep the buffers of the connection alive, so a body
//! that comes byte by byte would hold a thousand times what it says.
//!
//! Touches nothing but the connection. Tests: `tests.rs` beside `lib.rs`.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};

use crate::budget::{Memory, OverBudget, Share};

/// Memory is taken in steps of this many bytes.
const STEP: usize = 4096;

/// Why there is no body.
#[derive(Debug)]
pub enum BodyError {
    /// It is longer than it may be. The rest of it is still to come.
    TooLarge,
    /// It did not arrive in time.
    Late,
    /// Others are sending so much that there is no memory for it.
    OverBudget,
    /// The connection broke.
    Broken(hyper::Error),
}

impl From<OverBudget> for BodyError {
    fn from(_: OverBudget) -> Self {
        Self::OverBudget
    }
}

/// Reads a body of at most `limit` bytes, whole. The memory is given back when [`Memory`] is dropped.
///
/// # Errors
/// [`BodyError`] says why there is none.
pub async fn read_body(
    body: &mut Incoming,
    limit: usize,
    time: Duration,
    share: &Share,
) -> Result<(Vec<u8>, Option<Memory>), BodyError> {
    // Said beforehand, so it can be refused beforehand.
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let _waiting = share.waiting();
    let reading = async {
        let (mut whole, mut memory, mut held) = (Vec::new(), None::<Memory>, 0usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(BodyError::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            let length = whole.len().saturating_add(data.len());
            if length > limit {
                return Err(BodyError::TooLarge);
            }
            if length > held {
                let step = (length - held).max(STEP).min(limit.max(STEP));
                match &mut memory {
                    Some(memory) => memory.grow(step)?,
                    None => memory = Some(share.hold(step)?),
                }
                held += step;
            }
            whole.extend_from_slice(data);
        }
        Ok((whole, memory))
    };
    tokio::time::timeout(time, reading).await.map_err(|_| BodyError::Late)?
}

/// Reads what is left of a body and keeps none of it: at most `limit` bytes, for at most `time`. True when it was read
/// to its end, so that the connection can be used again.
pub async fn discard_body(body: &mut Incoming, limit: usize, time: Duration, share: &Share) -> bool {
    let _waiting = share.waiting();
    let mut read = 0usize;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if read > limit {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
    body.is_end_stream()
}
