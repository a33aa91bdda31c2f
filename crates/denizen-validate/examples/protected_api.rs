//! An API that rejects every request without a token of Entra or Denizen.
//!
//! ```text
//! cargo run -p denizen-validate --features layer --example protected_api -- AUTHORITY TENANT AUDIENCE
//! curl -H "Authorization: Bearer $(denizen token get --resource AUDIENCE)" http://127.0.0.1:PORT/whoami
//! ```

#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::error::Error;

use axum::{Extension, Router, routing::get};
use denizen_validate::{BearerLayer, Claims, TokenValidator};

async fn whoami(Extension(claims): Extension<Claims>) -> String {
    format!("{} of {}, by {}\n", claims.principal(), claims.tenant(), claims.issuer())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(authority), Some(tenant), Some(audience)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: protected_api AUTHORITY TENANT AUDIENCE".into());
    };
    let validator = TokenValidator::builder(&audience)
        .trust(&authority, &tenant)
        // For `denizen dev`; a server elsewhere needs no such line.
        .accept_development_authorities()
        .allow_any_principal()
        .build()?;
    let layer = BearerLayer::new(validator).on_rejection(|error| println!("rejected: {error}"));
    let app = Router::new().route("/whoami", get(whoami)).layer(layer);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/whoami", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
