//! What the log says of a choice between credentials.

use std::{
    io,
    sync::{Arc, Mutex},
};

use denizen_identity::{CredentialContext, DefaultAzureCredential, Environment};
use tracing_subscriber::fmt::MakeWriter;

use super::{Arcs, get};

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(self.clone())
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines of this library.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("denizen_identity")).map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_tells_which_credential_was_chosen_and_why_others_were_skipped() {
    let arcs = Arcs::start().await;
    let log = Log::default();
    let guard = log.start();
    let chain = DefaultAzureCredential::builder().context(arcs.context()).build().unwrap();
    let token = get(&*chain).await.unwrap();
    get(&*chain).await.unwrap();
    drop(guard);
    let lines = log.lines();
    let position = |parts: &[&str]| {
        let found: Vec<_> = (0..lines.len()).filter(|at| parts.iter().all(|part| lines[*at].contains(part))).collect();
        assert_eq!(found.len(), 1, "{parts:?} once in {lines:#?}");
        found[0]
    };
    let order = [
        position(&[
            "DEBUG",
            "identity source chosen",
            "source=\"Azure Arc\"",
            "reason=\"IDENTITY_ENDPOINT and IMDS_ENDPOINT are set\"",
        ]),
        position(&["DEBUG", "chain built", "chain=\"DefaultAzureCredential\"", "\"ManagedIdentityCredential\""]),
        position(&["DEBUG", "credential skipped", "credential=\"EnvironmentCredential\"", "reason=\"AZURE_TENANT_ID"]),
        position(&["DEBUG", "credential skipped", "credential=\"WorkloadIdentityCredential\""]),
        position(&["INFO", "credential chosen", "credential=\"ManagedIdentityCredential\""]),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    assert!(!lines.concat().contains(&token));
}

#[tokio::test]
async fn the_log_tells_what_stopped_a_chain_and_holds_no_secret() {
    let log = Log::default();
    let guard = log.start();
    let environment = Environment::from([
        ("AZURE_TENANT_ID", "not a tenant"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "MARKER"),
        ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/MSI/token"),
        ("IDENTITY_HEADER", "MARKER"),
    ]);
    let chain = DefaultAzureCredential::builder().context(CredentialContext::of(environment)).build().unwrap();
    get(&*chain).await.unwrap_err();
    drop(guard);
    let lines = log.lines();
    let stopped = lines.iter().filter(|line| line.contains("credential failed, the chain stops")).collect::<Vec<_>>();
    let [stopped] = stopped.as_slice() else { panic!("one failure in {lines:#?}") };
    assert!(stopped.contains("WARN") && stopped.contains("credential=\"EnvironmentCredential\""), "{stopped}");
    assert!(stopped.contains("'not a tenant' is not a tenant id"), "{stopped}");
    assert!(!lines.concat().contains("MARKER"), "{lines:#?}");
}
