//! The main listener: which face a path belongs to.

use http::StatusCode;

use super::{Call, Reply, listen::Face, node::Node, reply, sts::Sts};

/// Everything on the main listener.
pub struct Control {
    sts: Sts,
    node: Node,
}

impl Control {
    /// Of its faces.
    pub fn new(sts: Sts, node: Node) -> Self {
        Self { sts, node }
    }
}

impl Face for Control {
    type Recall = ();

    async fn handle(&self, (): &(), call: Call) -> Reply {
        match call.segments.first().map(String::as_str) {
            Some("healthz") if call.segments.len() == 1 => {
                reply::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
            }
            Some("node") => self.node.handle(call).await,
            _ => self.sts.handle(&(), call).await,
        }
    }
}
