//! Lists: a page of records by filter and order, read from the database.
//!
//! ```text
//! List { filter, search, order, after, limit }  ──►  one statement of fixed pieces  ──►  rows, checked  ──►  Page { items, next }
//!         by the names of Listed::FIELDS               store/db/sql.rs, Composed           each by its tag
//! ```
//!
//! A list costs its page: it goes on after a key and not after a number of rows, and both the order and what clients filter
//! by have an index (migration 0002). What no index has (`endswith`, `ne`, a description) is looked for among the rows of a
//! better condition beside it, or among all of the tenant.
//!
//! Text is compared without regard to the case of ASCII letters, by bytes, in both engines alike. Each row is checked by its
//! tag as any other, and by its body whether it is one that was asked for; that a row is missing no list can show.
//!
//! Touches the database. Tests: `contract/lists.rs`, on both engines.

pub(super) mod fields;
mod passes;

use denizen_keys::{b64, hash};
use serde_json::Value;

use self::fields::{Field, Place};
use super::{
    Record, Store, StoreError, Tampering,
    db::{Composed, Dialect},
    live::Checks,
    record::{Kept, decode},
};
use crate::domain::{
    Ctx,
    query::{BadQuery, Filter, Literal, Order, Search, Test},
};

/// A record of which there are lists.
pub trait Listed: Record {
    /// What can be filtered by, under the names that clients use.
    const FIELDS: &'static [Field];
    /// What can be ordered by, by its name among the fields. The first is the order when nobody says another.
    const ORDERS: &'static [&'static str];
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct List<'q> {
    /// Which records; all of these must hold.
    pub filters: Vec<&'q Filter>,
    /// Which of them by words.
    pub search: &'q [Search],
    /// In which order.
    pub order: Option<&'q Order>,
    /// Where to go on: [`Page::next`] of the page before.
    pub after: Option<&'q str>,
    /// How many at most.
    pub limit: u32,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// Its records, in order.
    pub items: Vec<R>,
    /// Where the next page goes on; none when this is the last. It is good for the same list only.
    pub next: Option<String>,
}

/// There is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It was asked for wrongly.
    #[error(transparent)]
    Query(#[from] BadQuery),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a page ended: the value that the list is ordered by, and the id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    value: String,
    id: String,
}

/// The bytes of a tag that a place carries.
const TAG: usize = 16;

impl Store {
    /// A page of the tenant's records.
    ///
    /// # Errors
    /// [`ListError::Query`] for what cannot be filtered or ordered by, and for a place of another list;
    /// [`StoreError::Tampered`]; the database's.
    pub async fn list<R: Listed>(&self, ctx: &Ctx, list: &List<'_>) -> Result<Page<R>, ListError> {
        let tenant = ctx.tenant.to_string();
        let order = order_of::<R>(list.order)?;
        let after = list.after.map(|place| self.place::<R>(&tenant, list, place)).transpose()?;
        let sql = statement::<R>(self.core.engine.dialect(), &tenant, list, (&order, after.as_ref()))?;
        let read = |rows: &[super::db::Row], checks: Checks<'_>| {
            let (mut found, mut last) = (Vec::with_capacity(rows.len()), after.clone());
            for row in rows {
                let kept = Kept::read::<R>(row)?;
                checks.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
                let (record, key) = taken::<R>(&kept, &tenant, list, &order)?;
                let is_beyond =
                    last.as_ref().is_none_or(|last| if order.descending { key < *last } else { key > *last });
                if !is_beyond {
                    return Err(kept.name::<R>().tampered(Tampering::Misplaced));
                }
                last = Some(key.clone());
                found.push((record, key));
            }
            Ok(found)
        };
        let mut found = self.read_page(sql.sql(), &sql.args(), read).await?;
        let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(_, key)| self.place_of::<R>(&tenant, list, key));
        Ok(Page { items: found.into_iter().map(|(record, _)| record).collect(), next })
    }

    /// How many of the tenant's records a list has, on all its pages. It looks at each of them.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn count<R: Listed>(&self, ctx: &Ctx, list: &List<'_>) -> Result<u64, ListError> {
        let mut sql = Composed::new(R::TABLE.count, self.core.engine.dialect());
        sql.push(" WHERE tenant = ").text(ctx.tenant.to_string());
        filters::<R>(&mut sql, list)?;
        let count = |rows: &[super::db::Row], _: Checks<'_>| rows.first().map_or(Ok(0), |row| row.count(0));
        Ok(self.read_page(sql.sql(), &sql.args(), count).await?)
    }

    /// The records whose ids are greater than `from` and less than `to`, by id: those of one group, whose ids begin alike.
    ///
    /// # Errors
    /// [`StoreError::Tampered`]; the database's.
    pub async fn between<R: Record>(
        &self,
        ctx: &Ctx,
        (from, to): (&str, &str),
        limit: u32,
    ) -> Result<Vec<R>, StoreError> {
        let tenant = ctx.tenant.to_string();
        let mut sql = Composed::new(R::TABLE.all, self.core.engine.dialect());
        sql.push(" WHERE tenant = ").text(tenant.as_str()).push(" AND id > ").text(from).push(" AND id < ").text(to);
        sql.push(" ORDER BY id LIMIT ").int(i64::from(limit));
        self.read_page(sql.sql(), &sql.args(), |rows, checks| {
            let (mut found, mut last) = (Vec::with_capacity(rows.len()), from.to_owned());
            for row in rows {
                let kept = Kept::read::<R>(row)?;
                checks.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
                if kept.tenant != tenant || kept.id <= last || kept.id.as_str() >= to {
                    return Err(kept.name::<R>().tampered(Tampering::Misplaced));
                }
                found.push(decode(&tenant, &kept.id, &kept.body)?);
                last.clone_from(&kept.id);
            }
            Ok(found)
        })
        .await
    }

    /// A place as it is handed out: what it is, and a tag that binds it to the list.
    fn place_of<R: Listed>(&self, tenant: &str, list: &List<'_>, key: &Key) -> String {
        let said = serde_json::json!([key.value, key.id]).to_string();
        let tag = self.core.keys.lists.tag(&[tenant.as_bytes(), asked::<R>(list).as_bytes(), said.as_bytes()]);
        b64::url(&[tag.first_chunk::<TAG>().map_or(&[][..], |tag| tag), said.as_bytes()].concat())
    }

    fn place<R: Listed>(&self, tenant: &str, list: &List<'_>, place: &str) -> Result<Key, BadQuery> {
        let read = || {
            let bytes = b64::decode_url(place)?;
            let (tag, said) = bytes.split_at_checked(TAG)?;
            let expected = self.core.keys.lists.tag(&[tenant.as_bytes(), asked::<R>(list).as_bytes(), said]);
            let is_ours = denizen_keys::constant_time_eq(expected.first_chunk::<TAG>()?, tag);
            let (value, id) = serde_json::from_slice::<(String, String)>(said).ok().filter(|_| is_ours)?;
            Some(Key { value, id })
        };
        read().ok_or_else(|| BadQuery {
            option: "$skiptoken",
            at: None,
            rule: "it is not of this list: follow @odata.nextLink as it was given".to_owned(),
        })
    }
}

/// What a list is, but for its page.
fn asked<R: Listed>(list: &List<'_>) -> String {
    let asked = format!("{:?} {:?} {:?} {:?}", R::KIND, list.filters, list.search, list.order);
    hash::hex(&hash::sha256(asked.as_bytes()))
}

/// The record of a row that was asked for, with its place.
fn taken<R: Listed>(kept: &Kept, tenant: &str, list: &List<'_>, order: &Ordered) -> Result<(R, Key), StoreError> {
    let misplaced = || kept.name::<R>().tampered(Tampering::Misplaced);
    if kept.tenant != tenant {
        return Err(misplaced());
    }
    let record = decode::<R>(tenant, &kept.id, &kept.body)?;
    let body: Value = serde_json::from_str(&kept.body).map_err(|_| StoreError::Corrupt("a body".to_owned()))?;
    let row = passes::Read { kept, body: &body };
    let by_filter = list.filters.iter().all(|filter| row.passes::<R>(filter) != Some(false));
    if !by_filter || !list.search.iter().all(|search| row.has_word::<R>(search) != Some(false)) {
        return Err(misplaced());
    }
    let value = row.value(&order.place).unwrap_or_default();
    Ok((record, Key { value, id: kept.id.clone() }))
}

/// What a list is ordered by.
struct Ordered {
    place: Place,
    descending: bool,
}

fn order_of<R: Listed>(order: Option<&Order>) -> Result<Ordered, BadQuery> {
    let name = order.map_or(R::ORDERS.first().copied().unwrap_or("id"), |order| order.property.as_str());
    let place = R::ORDERS.contains(&name).then(|| R::FIELDS.iter().find(|field| field.name == name)).flatten();
    let place = place.map(|field| field.place).ok_or_else(|| BadQuery {
        option: "$orderby",
        at: None,
        rule: format!("'{name}' is not ordered by here; {} is", R::ORDERS.join(", ")),
    })?;
    Ok(Ordered { place, descending: order.is_some_and(|order| order.descending) })
}

/// The statement of a page.
fn statement<R: Listed>(
    dialect: Dialect,
    tenant: &str,
    list: &List<'_>,
    (order, after): (&Ordered, Option<&Key>),
) -> Result<Composed, BadQuery> {
    let mut sql = Composed::new(R::TABLE.all, dialect);
    sql.push(" WHERE tenant = ").text(tenant);
    let is_by_id = matches!(order.place, Place::Id);
    let (from, beyond, direction) = if order.descending { (" <= ", " < (", " DESC") } else { (" >= ", " > (", "") };
    // Before the filters: of several bounds of one index SQLite begins at the first, and reads what is between.
    if let Some(key) = after {
        if !is_by_id {
            // SQLite begins at an expression by itself only, and passes over those of the same value.
            sql.push(" AND ");
            order.place.column(&mut sql);
            sql.push(from).text(&key.value);
        }
        sql.push(" AND (");
        if !is_by_id {
            order.place.column(&mut sql);
            sql.push(", ");
        }
        sql.push("id)").push(beyond);
        if !is_by_id {
            sql.text(&key.value).push(", ");
        }
        sql.text(&key.id).push(")");
    }
    filters::<R>(&mut sql, list)?;
    sql.push(" ORDER BY ");
    if !is_by_id {
        order.place.column(&mut sql);
        sql.push(direction).push(", ");
    }
    // One more than asked for says whether there is another page.
    sql.push("id").push(direction).push(" LIMIT ").int(i64::from(list.limit) + 1);
    Ok(sql)
}

/// Adds which rows of the tenant's.
fn filters<R: Listed>(sql: &mut Composed, list: &List<'_>) -> Result<(), BadQuery> {
    for filter in &list.filters {
        sql.push(" AND ");
        of_filter::<R>(sql, filter)?;
    }
    for search in list.search {
        let place = field::<R>("$search", &search.property)?.place;
        let Place::Text(_) = place else {
            return Err(refused("$search", &search.property, "it is not searched by words here"));
        };
        let words = like(&search.text.to_ascii_lowercase());
        sql.push(" AND (");
        place.column(sql);
        sql.push(" LIKE ").text(format!("{words}%")).push(" ESCAPE '\\' OR ");
        place.column(sql);
        sql.push(" LIKE ").text(format!("% {words}%")).push(" ESCAPE '\\')");
    }
    Ok(())
}

fn of_filter<R: Listed>(sql: &mut Composed, filter: &Filter) -> Result<(), BadQuery> {
    match filter {
        Filter::And(one, other) | Filter::Or(one, other) => {
            sql.push("(");
            of_filter::<R>(sql, one)?;
            sql.push(if matches!(filter, Filter::And(..)) { " AND " } else { " OR " });
            of_filter::<R>(sql, other)?;
            sql.push(")");
        }
        // What is null is not known to be anything in SQL, and is something else in OData.
        Filter::Not(inner) => {
            sql.push("NOT COALESCE(");
            of_filter::<R>(sql, inner)?;
            sql.push(", 0 = 1)");
        }
        Filter::Is(name, Test::Differs(value)) => {
            let equals = Filter::Is(name.clone(), Test::Equals(value.clone()));
            of_filter::<R>(sql, &Filter::Not(Box::new(equals)))?;
        }
        Filter::Is(name, test) => {
            let field = field::<R>("$filter", name)?;
            if field.place.is_collection() {
                return Err(refused("$filter", name, "it is a collection: use any(x:x eq 'value')"));
            }
            field.condition(sql, test)?;
        }
        Filter::Any(name, test) => {
            let field = field::<R>("$filter", name)?;
            if !field.place.is_collection() {
                return Err(refused("$filter", name, "it is no collection: compare it itself"));
            }
            if let Test::Differs(_) = test {
                return Err(refused(
                    "$filter",
                    name,
                    "ne inside any() is not answered here: use not and any(x:x eq …)",
                ));
            }
            field.condition(sql, test)?;
        }
    }
    Ok(())
}

fn field<R: Listed>(option: &'static str, name: &str) -> Result<&'static Field, BadQuery> {
    R::FIELDS.iter().find(|field| field.name == name).ok_or_else(|| {
        let known: Vec<_> = R::FIELDS.iter().map(|field| field.name).collect();
        refused(option, name, &format!("it is no property that is answered here; {} are", known.join(", ")))
    })
}

fn refused(option: &'static str, name: &str, why: &str) -> BadQuery {
    BadQuery { option, at: None, rule: format!("'{name}': {why}") }
}

/// The literal as a form accepts it; a value of another type is refused.
fn text_of<'l>(field: &Field, literal: &'l Literal) -> Result<&'l str, BadQuery> {
    match literal {
        Literal::Text(text) | Literal::Guid(text) => Ok(text),
        Literal::Bool(_) | Literal::Null | Literal::Number(_) | Literal::DateTime(_) => {
            Err(refused("$filter", field.name, "it is compared with a text in single quotes"))
        }
    }
}

/// A text in a pattern, taken by its letters.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The first text after all that begin so, by bytes; none when there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// The text of a list's statement, for a test that asks what it costs.
#[cfg(test)]
pub(super) fn text_of_statement<R: Listed>(dialect: Dialect, list: &List<'_>, after: Option<(&str, &str)>) -> String {
    let order = order_of::<R>(list.order).unwrap();
    let after = after.map(|(value, id)| Key { value: value.to_owned(), id: id.to_owned() });
    statement::<R>(dialect, "tenant", list, (&order, after.as_ref())).unwrap().sql().text().to_owned()
}
