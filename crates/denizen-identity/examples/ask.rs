//! Asks for one token and says as JSON what came of it: this library's side of a comparison between clients.
//!
//! ```text
//! cargo run -p denizen-identity --example ask -- mic|dac [CLIENT_ID]
//! ```

#![allow(clippy::print_stdout, reason = "its output is its protocol")]

use std::{sync::Arc, time::Instant};

use denizen_identity::{
    Credential, CredentialError, DefaultAzureCredential, ManagedIdentityCredential, TokenRequest, UserAssigned,
};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next();
    let client_id = arguments.next().map(UserAssigned::ClientId);
    let started = Instant::now();
    let credential = match kind.as_deref() {
        Some("mic") => managed(client_id),
        Some("dac") => DefaultAzureCredential::builder().build().map(|chain| chain as Arc<dyn Credential>),
        _ => return Err("usage: ask mic|dac [CLIENT_ID]".into()),
    };
    let result = match credential {
        Ok(credential) => credential.token(TokenRequest::new(&["https://vault.azure.net/.default"])).await,
        Err(error) => Err(error),
    };
    let ms = u64::try_from(started.elapsed().as_millis())?;
    let version = env!("CARGO_PKG_VERSION");
    let answer = match result {
        Ok(token) => json!({"ok": !token.secret().is_empty(), "ms": ms, "version": version}),
        Err(error) => {
            let class = if error.is_unavailable() { "unavailable" } else { "failed" };
            json!({"ok": false, "class": class, "message": error.to_string(), "ms": ms, "version": version})
        }
    };
    println!("{answer}");
    Ok(())
}

fn managed(client_id: Option<UserAssigned>) -> Result<Arc<dyn Credential>, CredentialError> {
    let builder = ManagedIdentityCredential::builder();
    let builder = match client_id {
        Some(id) => builder.user_assigned(id),
        None => builder,
    };
    builder.build().map(|credential| credential as Arc<dyn Credential>)
}
