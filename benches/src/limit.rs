//! The machine's own limit: RSA-2048 signatures, and nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};

use crate::load::Round;

/// A JWT's header and claims, encoded, are about this long.
const MESSAGE: usize = 1000;
/// Signatures between two looks at the account.
const BATCH: u32 = 64;

/// Signs messages of a token's size with PKCS#1 v1.5 and SHA-256, on one thread, for `time` of its CPU.
///
/// The key is parsed once and the buffer is reused: no program can sign faster with this library.
pub(crate) async fn signatures(time: Duration) -> Result<Round> {
    tokio::task::spawn_blocking(move || sign_for(time)).await.context("the signing thread")?
}

fn sign_for(time: Duration) -> Result<Round> {
    let refused = |_| anyhow!("the library refused to sign");
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
    let random = SystemRandom::new();
    let mut signature = vec![0; key.public_modulus_len()];
    let mut message = [b'e'; MESSAGE];
    let (wall, start) = (Instant::now(), thread_cpu()?);
    let mut exchanges = 0u64;
    let cpu = loop {
        // The account is read seldom, so that reading it costs nothing beside the signatures.
        for _ in 0..BATCH {
            // A new message each time, as tokens are.
            for (to, from) in message.iter_mut().zip(exchanges.to_le_bytes()) {
                *to = from;
            }
            key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).map_err(refused)?;
            exchanges += 1;
        }
        let cpu = thread_cpu()? - start;
        if cpu >= time.as_secs_f64() {
            break cpu;
        }
    };
    Ok(Round { exchanges, cpu, wall: wall.elapsed().as_secs_f64(), latencies: Vec::new() })
}

/// CPU seconds of this thread: the scheduler's own account, in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one thread, far below 2^52")]
fn thread_cpu() -> Result<f64> {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = account.split_whitespace().next().context("an empty schedstat")?.parse()?;
    Ok(nanoseconds as f64 / 1e9)
}
