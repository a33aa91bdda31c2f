//! Federated identity credentials: which token of which other issuer a client may prove itself with.
//!
//! An application, or a user-assigned managed identity, lists up to [`MOST`] of them. Each names an issuer, one audience,
//! and whom of that issuer: a subject, compared as text, or an [`Expression`] over claims. Everything is compared exactly,
//! upper and lower case included, as Microsoft Entra ID does; a difference in case alone gets an error of its own.
//!
//! Also here: a [`TrustedSubject`], by which a certificate proves a client without being registered itself (subject name
//! and issuer), and [`HttpsUrl`], the form of an issuer that can be asked for its keys.
//!
//! Pure. Tests: `federation/tests.rs`.

mod expression;
mod url;

#[cfg(test)]
mod tests;

pub use self::{
    expression::{Expression, ExpressionError},
    url::{HttpsUrl, UrlError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The most federated credentials of one client.
pub const MOST: usize = 20;
/// The most trusted subjects of one application.
pub const MOST_SUBJECTS: usize = 20;
/// The most characters of an issuer, a subject, an audience, a description and an expression.
pub const LONGEST: usize = 600;
/// What a token is meant for, where a credential names nothing else.
pub const DEFAULT_AUDIENCE: &str = "api://AzureADTokenExchange";
/// The most of a claim that an error repeats, characters.
const LONGEST_SHOWN: usize = 200;

/// Whom another issuer's token may stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederatedCredential {
    /// Names it for removal and in the audit.
    pub id: Uuid,
    /// For people; 3 to 120 characters, unique in its list, never changed.
    pub name: String,
    /// `iss`, as the issuer writes it.
    pub issuer: String,
    /// Whom of that issuer.
    pub whom: Whom,
    /// `aud`: exactly one.
    pub audiences: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Whether something that a client could prove itself by is not listed any more: one that is gone, or that is for others now.
pub fn is_lost(before: &[FederatedCredential], after: &[FederatedCredential]) -> bool {
    let stays = |it: &FederatedCredential| {
        let same = |kept: &FederatedCredential| {
            (kept.id, &kept.issuer, &kept.whom, &kept.audiences) == (it.id, &it.issuer, &it.whom, &it.audiences)
        };
        after.iter().any(same)
    };
    !before.iter().all(stays)
}

/// Whom of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Whom {
    /// `sub`, as the issuer writes it.
    Subject(String),
    /// Whoever's claims fit (`claimsMatchingExpression`, language version 1).
    Expression(Expression),
}

/// A name in a certificate that proves a client when one of these authorities vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedSubject {
    /// Names it for removal and in the audit.
    pub id: Uuid,
    /// The certificate's subject, as RFC 4514 writes it: `CN=app.contoso.example,O=Contoso`.
    pub subject: String,
    /// The certificates of the authorities, standard base64 of their DER.
    pub authorities: Vec<String>,
}

/// A rule that a new credential breaks, with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A text is empty, too long or has what may not be in it.
    #[error("the {0} must be 1 to {LONGEST} characters, with no blank at either end and no control characters")]
    Text(&'static str),
    /// The name.
    #[error("the name must be 3 to 120 letters, digits, '-' and '_', a letter or a digit first")]
    Name,
    /// The issuer.
    #[error("the issuer {0}")]
    Issuer(UrlError),
    /// The audiences.
    #[error("a federated credential has exactly one audience; {DEFAULT_AUDIENCE} is the usual one")]
    Audiences,
    /// The list is full.
    #[error("a client has at most {MOST} federated credentials: remove one, or use a claims matching expression")]
    Full,
    /// The name is taken.
    #[error("the client has a federated credential of the name {0} already: names are unique, and do not change")]
    NameTaken(String),
    /// The same issuer and subject are listed.
    #[error("the client has a federated credential for this issuer and subject already, {0}: each pair is listed once")]
    PairTaken(String),
}

/// Why no credential fits a token. Each text begins as Entra's does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A claim that every token of an issuer has is absent, or is no text.
    #[error("Invalid JWT token: claim '{0}' is missing or is not text.")]
    Claim(&'static str),
    /// No credential names its issuer.
    #[error(
        "No matching federated identity record found for presented assertion issuer '{0}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. A client that signs with its own certificate is its own issuer: it sets iss and sub to the client id."
    )]
    Issuer(String),
    /// None of them names its subject.
    #[error(
        "No matching federated identity record found for presented assertion subject '{0}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
    )]
    Subject(String),
    /// One does but for the case.
    #[error(
        "No matching federated identity record found for presented assertion subject '{0}'. The subject matches with case-insensitive comparison, but not with case-sensitive comparison. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
    )]
    SubjectCase(String),
    /// Its claims fit no expression.
    #[error(
        "No matching federated identity record found: no claims matching expression of this issuer's credentials fits the presented assertion with subject '{0}'. Check the expression against the assertion's claims."
    )]
    Expression(String),
    /// It is meant for somebody else.
    #[error(
        "No matching federated identity record found for presented assertion audience '{0}'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion."
    )]
    Audience(String),
}

impl Mismatch {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::Claim(_) => 50_027,
            Self::Issuer(_) => 700_211,
            Self::Audience(_) => 700_212,
            Self::Subject(_) => 700_213,
            Self::SubjectCase(_) => 7_002_138,
            Self::Expression(_) => 7_002_131,
        }
    }
}

impl FederatedCredential {
    /// Checks what a credential must be by itself.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), Rule> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let begins = self.name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !(3..=120).contains(&self.name.len()) || !begins || !self.name.bytes().all(is_name) {
            return Err(Rule::Name);
        }
        text(&self.issuer, "issuer")?;
        HttpsUrl::of_issuer(&self.issuer).map_err(Rule::Issuer)?;
        if let Whom::Subject(subject) = &self.whom {
            text(subject, "subject")?;
        }
        let [audience] = self.audiences.as_slice() else { return Err(Rule::Audiences) };
        text(audience, "audience")?;
        if !self.description.is_empty() {
            text(&self.description, "description")?;
        }
        Ok(())
    }

    /// Whether the token is meant for what this credential is for.
    fn is_for(&self, audience: Option<&Value>) -> bool {
        let ours = |audience: &Value| audience.as_str().is_some_and(|it| self.audiences.iter().any(|own| own == it));
        match audience {
            Some(Value::Array(audiences)) => audiences.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        }
    }
}

/// Adds a credential to a client's list.
///
/// # Errors
/// The first rule that it breaks.
pub fn add(list: &mut Vec<FederatedCredential>, new: FederatedCredential) -> Result<(), Rule> {
    new.check()?;
    if list.len() >= MOST {
        return Err(Rule::Full);
    }
    if list.iter().any(|it| it.name.eq_ignore_ascii_case(&new.name)) {
        return Err(Rule::NameTaken(new.name));
    }
    if let Some(same) = list.iter().find(|it| it.issuer == new.issuer && it.whom == new.whom) {
        return Err(Rule::PairTaken(same.name.clone()));
    }
    list.push(new);
    Ok(())
}

/// The credential that the claims of a token fit. Asked before anything of the token is proved, to know whether to fetch
/// keys, and again of the claims that the signature covers.
///
/// # Errors
/// The first of issuer, subject and audience that no credential has.
pub fn find<'c>(
    credentials: &'c [FederatedCredential],
    claims: &Map<String, Value>,
) -> Result<&'c FederatedCredential, Mismatch> {
    let claim = |name| claims.get(name).and_then(Value::as_str).ok_or(Mismatch::Claim(name));
    let (issuer, subject) = (claim("iss")?, claim("sub")?);
    let of_issuer = || credentials.iter().filter(|it| it.issuer == issuer);
    if of_issuer().next().is_none() {
        return Err(Mismatch::Issuer(shown(issuer)));
    }
    let fits = |it: &&FederatedCredential| match &it.whom {
        Whom::Subject(own) => own == subject,
        Whom::Expression(expression) => expression.fits(claims),
    };
    if of_issuer().any(|it| fits(&it)) {
        let audience = claims.get("aud");
        return of_issuer()
            .filter(fits)
            .find(|it| it.is_for(audience))
            .ok_or_else(|| Mismatch::Audience(shown_audience(audience)));
    }
    let subjects = || {
        of_issuer().filter_map(|it| match &it.whom {
            Whom::Subject(own) => Some(own),
            Whom::Expression(_) => None,
        })
    };
    Err(if subjects().any(|own| own.to_lowercase() == subject.to_lowercase()) {
        Mismatch::SubjectCase(shown(subject))
    } else if subjects().next().is_some() {
        Mismatch::Subject(shown(subject))
    } else {
        Mismatch::Expression(shown(subject))
    })
}

fn text(text: &str, what: &'static str) -> Result<(), Rule> {
    let length = text.chars().count();
    if !(1..=LONGEST).contains(&length) || text.trim() != text || text.chars().any(char::is_control) {
        return Err(Rule::Text(what));
    }
    Ok(())
}

/// What an error repeats of a claim: names of services and of repositories, and nothing that changes a line of a log.
pub fn shown(claim: &str) -> String {
    let length = claim.chars().count();
    let is_plain = claim.bytes().all(|b| b.is_ascii_graphic() && !b"'\"\\<>".contains(&b));
    if is_plain && length <= LONGEST_SHOWN {
        return claim.to_owned();
    }
    format!("(a value of {length} characters that is not shown)")
}

fn shown_audience(audience: Option<&Value>) -> String {
    match audience {
        Some(Value::String(one)) => shown(one),
        Some(Value::Array(several)) => match several.as_slice() {
            [Value::String(one)] => shown(one),
            other => format!("(a list of {})", other.len()),
        },
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => "(none)".to_owned(),
    }
}
