//! The bare TLS peer: the server's own TLS configuration, one recorded answer to every request.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::Args;
use denizen_keys::ca::{DevCa, SanEntry};
use denizen_server::run::tls;
use denizen_wire::Clock;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{LISTENING, Recorded, announce, end_with_our_parent, kept};

/// Its arguments.
#[derive(Args)]
pub(crate) struct Tls {
    /// The recorded answer
    #[arg(long)]
    reply: PathBuf,
    /// Where to write the CA to trust
    #[arg(long)]
    ca_out: PathBuf,
}

/// Serves until whoever started it is gone.
pub(crate) async fn run(args: Tls) -> Result<()> {
    let reply = kept::<Recorded>(&args.reply)?.reply()?;
    let now = Clock::system().now().0;
    let ca = DevCa::generate("Bench peer", now)?;
    let issued = ca.issue_server(&[SanEntry::Dns("localhost".into())], now, 1)?;
    std::fs::write(&args.ca_out, ca.ca_pem())?;
    let acceptor = TlsAcceptor::from(tls(&issued.chain_pem(), &issued.key_pem())?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    announce(LISTENING, &format!("https://localhost:{}", listener.local_addr()?.port()));
    let reply = Arc::new(reply);
    end_with_our_parent();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, reply) = (acceptor.clone(), Arc::clone(&reply));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|_: Request<Incoming>| {
                let answer = reply.copy();
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
    Ok(())
}
