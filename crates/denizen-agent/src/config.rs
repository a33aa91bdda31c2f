//! What an agent is started with. Touches nothing: files, addresses and the clock come in as values.

use std::path::PathBuf;

use denizen_keys::SecretString;

use denizen_wire::Clock;

use crate::upstream::https::Outbound;

/// How an agent is to run.
pub struct AgentConfig {
    /// Where its key and its identity are: see [`crate::identity_file`].
    pub state_dir: PathBuf,
    /// The Arc dialect; off without.
    pub arc: Option<ArcConfig>,
    /// The App Service dialect's secret; off without.
    pub app_service_header: Option<SecretString>,
    /// The group whose members IMDS gives tokens to, besides root and the agent's own user.
    pub imds_group: Option<String>,
    /// The time.
    pub clock: Clock,
    /// How the token authority is reached.
    pub outbound: Outbound,
    /// A file that says Microsoft's own agent is installed, which then keeps the key directory.
    pub marker: PathBuf,
    /// The connections it may have, as the process's descriptors allow ([`denizen_serve::raise_descriptors`]); it takes
    /// no more than it needs.
    pub connections: usize,
}

/// The Arc dialect's key directory.
pub struct ArcConfig {
    /// Where: clients know one path only, `/var/opt/azcmagent/tokens`.
    pub key_dir: PathBuf,
    /// The group whose members may read the keys; without, root alone.
    pub group: Option<String>,
}
