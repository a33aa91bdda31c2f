//! Which credential gives the token here, and how long it takes: `cargo run --example which -- https://vault.azure.net`.

use std::time::Instant;

use denizen_identity::{Credential, DefaultAzureCredential, TokenRequest};

#[expect(clippy::print_stdout, reason = "a program's output")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let resource = std::env::args().nth(1).unwrap_or_else(|| "https://vault.azure.net".into());
    let scope = format!("{resource}/.default");
    let started = Instant::now();
    let chain = DefaultAzureCredential::builder().build()?;
    let result = chain.token(TokenRequest::new(&[&scope])).await;
    let first = started.elapsed();
    match result {
        Ok(token) => {
            let again = Instant::now();
            chain.token(TokenRequest::new(&[&scope])).await?;
            let link = chain.last_successful().unwrap_or_default();
            println!(
                "{link} gave a token until {} in {first:.1?}, and again in {:.1?}",
                token.expires_on.rfc3339(),
                again.elapsed()
            );
        }
        Err(error) => println!("{error}\n(decided in {first:.1?})"),
    }
    Ok(())
}
