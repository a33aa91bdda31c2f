//! What a connection remembers of reads that passed the gate.
//!
//! A program that holds a token reads the same secrets over the same connection again and again. What the gate says is
//! a function of the request's text, the directory and the second: nothing else goes in. So while all of these are
//! the very same, it says the same, and need not be asked. What is never remembered is the value: each read takes the
//! keys, opens the seals and is recorded anew.
//!
//! ```text
//! same target, Host and Authorization, byte for byte ┐
//! same revision of the directory                     ├─► the same answer of the gate
//! same second                                        ┘
//! ```
//!
//! Tests: every test of the vault asks through here, as a connection does; `tests/again.rs` asks what must not be
//! remembered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use denizen_wire::UnixTime;
use http::{HeaderMap, HeaderName, Method, header};
use zeroize::Zeroizing;

use crate::{
    app::secrets::Readable,
    http::{Call, listen::Asked},
    store::{Repeated, Revision},
};

/// Reads that one connection remembers.
const READS: usize = 8;
/// A version with a longer sealed value is not remembered: there may be thousands of connections.
const MAX_VALUE: usize = 4096;
/// Nor is a longer target.
const MAX_TARGET: usize = 1024;

/// What one connection remembers.
#[derive(Default)]
pub struct Recall(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    under: Option<Under>,
    reads: Vec<(String, Arc<Warm>)>,
}

/// What all that is remembered holds under.
#[derive(PartialEq, Eq)]
struct Under {
    revision: Revision,
    now: UnixTime,
    host: Vec<u8>,
    authorization: Zeroizing<Vec<u8>>,
}

/// A read that passed the gate and was answered.
#[derive(Clone)]
pub(super) struct Warm {
    /// What is read.
    pub readable: Readable,
    /// What is recorded of it.
    pub read: Repeated,
    /// The answer's body but for the value.
    pub shell: Shell,
    /// The answer's headers but for the ids of the request.
    pub headers: HeaderMap,
}

/// A bundle's JSON without its value, which stands first.
#[derive(Clone)]
pub(super) struct Shell(pub String);

/// A read as it was asked for.
pub(super) struct Question {
    target: String,
    under: Under,
}

impl Question {
    /// None for what is not worth remembering, or not asked in the plainest way.
    pub(super) fn of(call: &Call, revision: Revision) -> Option<Self> {
        let (host, authorization) = (only(&call.headers, &header::HOST)?, only(&call.headers, &header::AUTHORIZATION)?);
        let plain = call.method == Method::GET && call.target.starts_with('/') && call.target.len() <= MAX_TARGET;
        plain.then(|| Self {
            target: call.target.clone(),
            under: Under { revision, now: call.now, host: host.to_vec(), authorization: authorization.to_vec().into() },
        })
    }
}

impl Recall {
    /// What is known about this request: nothing, or that it passes.
    pub(super) fn of(&self, asked: &Asked<'_>, revision: Revision) -> Option<Arc<Warm>> {
        let seen = self.seen();
        let under = seen.under.as_ref()?;
        // The token's comparison stops at the first difference. Who could measure that would have this second to
        // guess a signature in.
        let same = *asked.method == Method::GET
            && asked.now == under.now
            && revision == under.revision
            && only(asked.headers, &header::HOST)? == under.host
            && only(asked.headers, &header::AUTHORIZATION)? == under.authorization.as_slice()
            && asked.uri.authority().is_none();
        let target = asked.uri.path_and_query()?.as_str();
        let known = seen.reads.iter().find(|(one, _)| one == target)?;
        same.then(|| Arc::clone(&known.1))
    }

    /// Remembers what was found out about a question.
    pub(super) fn keep(&self, question: Question, warm: Warm) {
        if warm.readable.sealed_len() > MAX_VALUE {
            return;
        }
        let mut seen = self.seen();
        if seen.under.as_ref() != Some(&question.under) {
            seen.reads.clear();
            seen.under = Some(question.under);
        }
        // It may be there already: whatever failed the short way has come the long one.
        seen.reads.retain(|(target, _)| *target != question.target);
        if seen.reads.len() >= READS {
            seen.reads.remove(0);
        }
        seen.reads.push((question.target, Arc::new(warm)));
    }

    /// A panic elsewhere leaves it as it was before or after one read.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let one = values.next()?;
    values.next().is_none().then(|| one.as_bytes())
}
