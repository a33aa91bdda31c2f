//! The public clients that every tenant has: Microsoft's own tools, which ask under ids that are compiled into them.
//!
//! They hold no secret, so anybody may speak as one of them; what they get is what the user who signs in may do. Whoever does
//! not want one registers an application of the same id, which is asked instead.
//!
//! Touches nothing. Tests: below.

use denizen_wire::ClientId;
use uuid::uuid;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltInClient {
    /// Its client id.
    pub id: ClientId,
    /// For people.
    pub name: &'static str,
}

/// Where each may have a browser sent back to: loopback, at any port and path (RFC 8252, section 7.3).
pub const REDIRECT_URIS: &[&str] = &["http://localhost", "http://127.0.0.1"];

const ALL: &[BuiltInClient] = &[
    BuiltInClient { id: ClientId(uuid!("04b07795-8ddb-461a-bbee-02f9e1bf7b46")), name: "Microsoft Azure CLI" },
    BuiltInClient { id: ClientId(uuid!("1950a258-227b-4e31-a9cf-717495945fc2")), name: "Microsoft Azure PowerShell" },
    BuiltInClient { id: ClientId(uuid!("aebc6443-996d-45c2-90f0-388ff96faa56")), name: "Visual Studio Code" },
    BuiltInClient { id: ClientId(uuid!("872cd9fa-d31f-45e0-9eab-6e460a02d1f1")), name: "Visual Studio" },
    BuiltInClient {
        id: ClientId(uuid!("14d82eec-204b-4c2f-b7e8-296a70dab67e")),
        name: "Microsoft Graph Command Line Tools",
    },
];

/// The one of this id.
pub fn built_in_client(id: ClientId) -> Option<&'static BuiltInClient> {
    ALL.iter().find(|client| client.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_azure_cli_is_one() {
        let cli = ClientId(uuid!("04b07795-8ddb-461a-bbee-02f9e1bf7b46"));
        assert_eq!(built_in_client(cli).map(|client| client.name), Some("Microsoft Azure CLI"));
        assert_eq!(built_in_client(ClientId(uuid::Uuid::nil())), None);
    }
}
