//! Several demo cells, and the table that names them.

use std::net::SocketAddr;

use super::{cell::DemoCell, table::TableText, wire::Request};

/// Running demo cells `cell-1`, `cell-2` and so on.
pub(crate) struct Fleet {
    cells: Vec<DemoCell>,
}

impl Fleet {
    #[track_caller]
    pub(crate) fn start(count: usize) -> Self {
        let cells = (1..=count).map(|number| DemoCell::start(&format!("cell-{number}")));
        Self {
            cells: cells.collect(),
        }
    }

    /// A table of these cells, each with one endpoint and an equal share of the slots.
    pub(crate) fn table(&self) -> TableText {
        TableText::new(
            self.cells
                .iter()
                .map(|cell| (cell.name(), vec![cell.address()])),
        )
    }

    /// The cell of this number, from 1.
    pub(crate) fn cell(&mut self, number: usize) -> &mut DemoCell {
        &mut self.cells[number - 1]
    }

    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.cells[number - 1].address()
    }
}

/// Makes the health path of a demo cell answer `ok` or `fail`.
#[track_caller]
pub(crate) fn set_health(cell: SocketAddr, state: &str) {
    let answer = Request::new("POST", &format!("/admin/health/{state}")).send(cell);
    assert_eq!(answer.status, 204, "{}", answer.text());
}
