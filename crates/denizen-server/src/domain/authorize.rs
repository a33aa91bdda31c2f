//! The one decision point: may this principal do this action at this scope, and why.
//!
//! [`authorize`] is pure. It reads assignments and roles through [`RoleSource`], so that one call sees one state of the
//! directory, and it explains itself: what it answers goes to the audit log, to the caller that was refused and to
//! whoever asks why. Its rules are Azure's:
//!
//! - an assignment holds at its scope and at everything below it, by whole segments: one at
//!   `…/resourceGroups/rg` says nothing about `…/resourceGroups/rg-2`;
//! - within one assignment, what counts is `actions` without `notActions`, and `dataActions` without
//!   `notDataActions`; the two planes never mix, so that the owner of a vault cannot read its secrets;
//! - what is assigned to a group, its members have, and the members of groups in it;
//! - assignments add up: what one takes away by `notActions`, another may give;
//! - names are compared without regard to case, and `*` stands for any characters, `/` included.
//!
//! What no assignment allows is refused. An assignment whose role is unknown allows nothing.
//!
//! Tests: `authorize/tests.rs`; the matrix of built-in roles and actions is the golden file beside it.

use std::{borrow::Cow, fmt, sync::Arc};

use denizen_wire::{PrincipalId, ResourceId};

use super::{
    hot::Assignment,
    roles::{BuiltInRoles, RoleDefinition, RoleId},
};

#[cfg(test)]
mod tests;

/// What a caller wants to do, in one of the two planes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To a resource itself: `Microsoft.KeyVault/vaults/write`.
    Control(Cow<'static, str>),
    /// To the data a resource holds: `Microsoft.KeyVault/vaults/secrets/getSecret/action`.
    Data(Cow<'static, str>),
}

impl Action {
    /// An action of the control plane that is known when this is compiled.
    pub const fn control(name: &'static str) -> Self {
        Self::Control(Cow::Borrowed(name))
    }

    /// An action of the data plane that is known when this is compiled.
    pub const fn data(name: &'static str) -> Self {
        Self::Data(Cow::Borrowed(name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Control(name) | Self::Data(name) => name,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What else is known about the request: what conditions on assignments are evaluated over.
///
/// No assignment carries a condition yet, so nothing is decided by these; they stand in the signature because every
/// caller must be ready to say them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// Names as conditions write them, `Microsoft.KeyVault/vaults/secrets:name` for one, with their values.
    pub resource: &'a [(&'a str, &'a str)],
}

/// The state a decision is made on: one view of it, which the decision's reasons borrow from.
pub trait RoleSource<'a> {
    /// What `principal` has been assigned, at any scope. Asked by principal, because that list stays short however
    /// many principals there are; the list at a subscription does not.
    fn assignments_of(&self, principal: PrincipalId) -> &'a [Arc<Assignment>];
    /// The groups that `principal` is in, however deep, each once.
    fn groups_of(&self, principal: PrincipalId) -> Vec<PrincipalId>;
    /// The role of this id, built in or the tenant's own.
    fn role(&self, id: RoleId) -> Option<&'a RoleDefinition>;
    /// The built-in roles, for what a refusal proposes.
    fn built_in(&self) -> &'a BuiltInRoles;
}

/// The answer, with its reason.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// Whether it may be done. Everything else is explanation.
    pub allowed: bool,
    /// Why.
    pub because: Because<'a>,
}

/// Why a decision is what it is. [`fmt::Display`] gives one line for the audit.
#[derive(Clone, Debug)]
pub enum Because<'a> {
    /// This assignment of this role allows it.
    Granted {
        /// The assignment.
        assignment: &'a Assignment,
        /// Its role.
        role: &'a RoleDefinition,
    },
    /// The client was not granted what it needs to act for its user.
    Scopes(&'static str),
    /// No assignment allows it.
    NotGranted {
        /// The principal's assignments at the scope and above it, none of which was enough.
        considered: Vec<Considered<'a>>,
        /// The narrowest built-in role that would allow it.
        proposal: Option<&'a RoleDefinition>,
    },
}

/// An assignment that was looked at and was not enough.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'a> {
    /// The assignment.
    pub assignment: &'a Assignment,
    /// Its role; none when no such role exists any more.
    pub role: Option<&'a RoleDefinition>,
}

/// Decides whether `principal` may do `action` at `scope`.
///
/// Allocates nothing when the answer is yes and the first assignment in scope gives it.
pub fn authorize<'a>(
    view: &impl RoleSource<'a>,
    principal: PrincipalId,
    action: &Action,
    scope: &ResourceId,
    _attributes: &Attributes<'_>,
) -> Decision<'a> {
    let mut considered = Vec::new();
    let mut granted = |who: PrincipalId| {
        for assignment in view.assignments_of(who) {
            if !assignment.scope.holds_at(scope) {
                continue;
            }
            let role = view.role(assignment.role);
            match role {
                Some(role) if role.allows(action) => return Some(Because::Granted { assignment, role }),
                Some(_) | None => considered.push(Considered { assignment, role }),
            }
        }
        None
    };
    // Its own first: which groups it is in takes longer.
    let because = granted(principal).or_else(|| view.groups_of(principal).into_iter().find_map(&mut granted));
    if let Some(because) = because {
        return Decision { allowed: true, because };
    }
    let proposal = view.built_in().proposal(action);
    Decision { allowed: false, because: Because::NotGranted { considered, proposal } }
}

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted { assignment, role } => {
                // Not the scope: it is the target or stands above it, and the assignment says which.
                write!(f, "role '{}' by assignment {}", role.name, assignment.id)
            }
            Self::Scopes(needed) => {
                write!(f, "the token's scp does not have '{needed}': ask for the resource's '/.default'")
            }
            Self::NotGranted { considered, proposal } => {
                if considered.is_empty() {
                    f.write_str("no role is assigned to the principal at this scope or above it")?;
                } else {
                    f.write_str("none of the roles assigned allows it: ")?;
                    for (i, one) in considered.iter().enumerate() {
                        let comma = if i == 0 { "" } else { ", " };
                        match one.role {
                            Some(role) => write!(f, "{comma}'{}' at {}", role.name, one.assignment.scope)?,
                            None => {
                                write!(f, "{comma}unknown role {} at {}", one.assignment.role, one.assignment.scope)?
                            }
                        }
                    }
                }
                match proposal {
                    Some(role) => write!(f, "; the role '{}' would allow it", role.name),
                    None => f.write_str("; no built-in role would allow it"),
                }
            }
        }
    }
}

/// Whether `pattern` covers `action`: without regard to ASCII case, `*` standing for any characters.
///
/// The pattern's literal pieces are sought from left to right, each at its first place: since `*` takes anything, a
/// later place never helps. So no place is tried twice, and the cost is at most the action's length times the
/// longest piece's: no pattern that a custom role may hold can make a decision slow.
pub fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.as_bytes(), action.as_bytes());
    let mut pieces = pattern.split(|b| *b == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = without_prefix(action, first) else { return false };
    let Some(mut piece) = pieces.next() else { return rest.is_empty() };
    for next in pieces {
        let Some(after) = after_first(rest, piece) else { return false };
        rest = after;
        piece = next;
    }
    // The last piece has to be the end, and may not overlap what was matched before it.
    rest.len() >= piece.len() && rest.get(rest.len() - piece.len()..).is_some_and(|end| end.eq_ignore_ascii_case(piece))
}

fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What follows the first place where `piece` stands in `text`.
fn after_first<'a>(text: &'a [u8], piece: &[u8]) -> Option<&'a [u8]> {
    if piece.is_empty() {
        return Some(text);
    }
    let at = text.windows(piece.len()).position(|window| window.eq_ignore_ascii_case(piece))?;
    text.get(at + piece.len()..)
}
