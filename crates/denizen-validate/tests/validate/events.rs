//! The `tracing` events of rejected tokens: they say why, and never hold the token.

use std::{
    io,
    sync::{Arc, Mutex},
};

use denizen_validate::ValidationError;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::Fixture;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
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
async fn an_event_says_why_a_token_was_rejected_and_does_not_hold_it() {
    let fixture = Fixture::new().await;
    let mut claims = fixture.claims();
    claims["aud"] = json!("api://other");
    let token = fixture.issuer.sign(&claims).unwrap();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let error = fixture.check(&token).await.unwrap_err();
    let malformed = fixture.check("planted-marker").await.unwrap_err();
    drop(guard);
    assert!(matches!(error, ValidationError::WrongAudience { .. }), "{error}");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for part in ["token rejected", "api://other", &malformed.to_string()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for part in token.split('.').chain(["planted-marker"]) {
        assert!(!text.contains(part), "{text}");
    }
}
