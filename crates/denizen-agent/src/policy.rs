//! Who may have a token: a pure decision that explains itself.
//!
//! One mode so far, `group`, which is Azure Arc's own rule: whoever proves membership gets what is assigned to the
//! machine. What counts as evidence depends on the dialect: a key file that only the group can read, a secret header, or
//! the kernel's word about who is calling.
//!
//! Touches nothing: membership is looked up before, and handed in. Tests: below.

use std::borrow::Cow;

use crate::{
    caller::{Caller, OVERFLOW_UID},
    evidence::Evidence,
};

/// The rule in force.
#[derive(Debug, Clone)]
pub enum Policy {
    /// Arc's rule.
    Group {
        /// The agent's own user.
        own_uid: u32,
        /// The group whose members may ask without a key file.
        group: Option<String>,
    },
}

/// The outcome, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the caller may have a token.
    pub allowed: bool,
    /// One sentence: the rule that decided and, for a refusal, a hint.
    pub because: Cow<'static, str>,
}

impl Policy {
    /// The group whose members may ask without a key file.
    pub fn group(&self) -> Option<&str> {
        let Self::Group { group, .. } = self;
        group.as_deref()
    }

    /// Whether the decision turns on the caller's membership, which then has to be looked up.
    pub fn needs_membership(&self, caller: &Caller, evidence: &Evidence) -> bool {
        let Self::Group { group, .. } = self;
        group.is_some()
            && matches!(evidence, Evidence::Peer)
            && caller.uid().is_some()
            && !self.decide(caller, false, evidence).allowed
    }

    /// Decides. `member` says whether the kernel's caller is in the policy's group.
    pub fn decide(&self, caller: &Caller, member: bool, evidence: &Evidence) -> Decision {
        let Self::Group { own_uid, group } = self;
        match evidence {
            Evidence::KeyFile(_) => allow("the caller read the key file, which only the group can"),
            Evidence::SecretHeader(_) => allow("the caller knows the App Service secret"),
            Evidence::Peer => match caller {
                Caller::Unknown(reason) => refuse(format!("it is not known who is calling: {reason}")),
                Caller::Known { uid: 0, .. } => allow("root"),
                // Users of namespaces that are not mapped here all show as this one uid: it names nobody.
                Caller::Known { uid: OVERFLOW_UID, .. } => refuse(format!(
                    "uid {OVERFLOW_UID} is how the kernel shows users it has no name for: run the program as root or as a user of its own{}",
                    match group {
                        Some(group) => format!(", a member of the group '{group}'"),
                        None => ", and start the agent with --group NAME".to_owned(),
                    }
                )),
                Caller::Known { uid, .. } if uid == own_uid => allow("the agent's own user"),
                Caller::Known { .. } if member && group.is_some() => allow("a member of the agent's group"),
                Caller::Known { uid, .. } => refuse(match group {
                    Some(group) => format!(
                        "uid {uid} is neither root nor a member of the group '{group}': `usermod -aG {group} USER`, then log in again"
                    ),
                    None => format!(
                        "uid {uid} is neither root nor the agent's own user, and the agent has no group: start it with --group NAME"
                    ),
                }),
            },
        }
    }
}

fn allow(because: &'static str) -> Decision {
    Decision { allowed: true, because: because.into() }
}

fn refuse(because: String) -> Decision {
    Decision { allowed: false, because: because.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{KnownFrom, UnknownReason};

    fn known(uid: u32) -> Caller {
        Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag }
    }

    fn policy(own_uid: u32, group: Option<&str>) -> Policy {
        Policy::Group { own_uid, group: group.map(str::to_owned) }
    }

    #[test]
    fn without_a_key_only_root_the_agent_and_the_group_get_in() {
        let unknown = Caller::Unknown(UnknownReason::NoAnswer);
        for (caller, member, allowed) in [
            (known(0), false, true),
            (known(990), false, true),
            (known(1000), true, true),
            (known(1000), false, false),
            (unknown, true, false),
        ] {
            let decision = policy(990, Some("himds")).decide(&caller, member, &Evidence::Peer);
            assert_eq!(decision.allowed, allowed, "{caller}: {}", decision.because);
        }
        assert!(!policy(990, None).decide(&known(1000), true, &Evidence::Peer).allowed, "no group, no members");
        for group in [None, Some("nogroup")] {
            let nobody = policy(OVERFLOW_UID, group).decide(&known(OVERFLOW_UID), true, &Evidence::Peer);
            assert!(!nobody.allowed, "{}", nobody.because);
        }
    }

    #[test]
    fn a_refusal_has_a_hint() {
        let because = policy(990, Some("himds")).decide(&known(1000), false, &Evidence::Peer).because;
        assert!(because.contains("uid 1000") && because.contains("usermod -aG himds"), "{because}");
        let because = policy(990, None).decide(&known(1000), false, &Evidence::Peer).because;
        assert!(because.contains("--group"), "{because}");
    }

    #[test]
    fn membership_is_looked_up_only_where_it_decides() {
        let group = policy(990, Some("himds"));
        assert!(group.needs_membership(&known(1000), &Evidence::Peer));
        assert!(!group.needs_membership(&known(0), &Evidence::Peer));
        assert!(!group.needs_membership(&Caller::Unknown(UnknownReason::NoAnswer), &Evidence::Peer));
        assert!(!policy(990, None).needs_membership(&known(1000), &Evidence::Peer));
    }
}
