//! A row that was made of values, and not read from an engine: what a backup holds.
//!
//! Touches nothing. Tests: [`crate::store::backup`].

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row, its values in their order.
pub(in crate::store) struct Row(Vec<Cell>);

impl Row {
    pub(super) const fn new(cells: Vec<Cell>) -> Self {
        Self(cells)
    }

    pub(super) fn text(&self, at: usize) -> Result<String, String> {
        self.text_or_null(at)?.ok_or_else(|| wrong(&Cell::Null, "text"))
    }

    pub(super) fn text_or_null(&self, at: usize) -> Result<Option<String>, String> {
        match self.cell(at)? {
            Cell::Text(text) => Ok(Some(text.clone())),
            Cell::Null => Ok(None),
            other @ (Cell::Int(_) | Cell::Bytes(_)) => Err(wrong(other, "text")),
        }
    }

    pub(super) fn int(&self, at: usize) -> Result<i64, String> {
        self.int_or_null(at)?.ok_or_else(|| wrong(&Cell::Null, "a number"))
    }

    pub(super) fn int_or_null(&self, at: usize) -> Result<Option<i64>, String> {
        match self.cell(at)? {
            Cell::Int(number) => Ok(Some(*number)),
            Cell::Null => Ok(None),
            other @ (Cell::Text(_) | Cell::Bytes(_)) => Err(wrong(other, "a number")),
        }
    }

    pub(super) fn bytes(&self, at: usize) -> Result<Vec<u8>, String> {
        self.bytes_or_null(at)?.ok_or_else(|| wrong(&Cell::Null, "bytes"))
    }

    pub(super) fn bytes_or_null(&self, at: usize) -> Result<Option<Vec<u8>>, String> {
        match self.cell(at)? {
            Cell::Bytes(bytes) => Ok(Some(bytes.clone())),
            Cell::Null => Ok(None),
            other @ (Cell::Int(_) | Cell::Text(_)) => Err(wrong(other, "bytes")),
        }
    }

    pub(super) fn flag(&self, at: usize) -> Result<bool, String> {
        self.int(at).map(|number| number != 0)
    }

    fn cell(&self, at: usize) -> Result<&Cell, String> {
        self.0.get(at).ok_or_else(|| format!("there is no column {at}"))
    }
}

/// What stands in a column in the place of what should.
fn wrong(found: &Cell, wanted: &str) -> String {
    let found = match found {
        Cell::Null => "nothing",
        Cell::Int(_) => "a whole number",
        Cell::Text(_) => "text",
        Cell::Bytes(_) => "bytes",
    };
    format!("{found} stands where {wanted} should")
}
