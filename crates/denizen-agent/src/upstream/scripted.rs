//! A token authority that a test writes: each answer comes from a closure, and the requests are counted.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use super::*;

type Answer = dyn FnMut(&Identity, &str) -> Result<IssuedToken, UpstreamError> + Send;

/// The script and its counters.
#[derive(Clone)]
pub struct Script {
    answer: Arc<Mutex<Box<Answer>>>,
    asked: Arc<AtomicUsize>,
    /// Each answer waits for one permit.
    pub gate: Arc<Semaphore>,
}

impl Script {
    pub fn new(answer: impl FnMut(&Identity, &str) -> Result<IssuedToken, UpstreamError> + Send + 'static) -> Self {
        Self {
            answer: Arc::new(Mutex::new(Box::new(answer))),
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    /// Tokens `token-1`, `token-2`, … that live for `expires_in` seconds.
    pub fn tokens(expires_in: i64) -> Self {
        let mut count = 0;
        Self::new(move |_, _| {
            count += 1;
            Ok(IssuedToken { access_token: format!("token-{count}").into(), expires_in })
        })
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<IssuedToken, UpstreamError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        (self.answer.lock().unwrap())(identity, resource)
    }
}
