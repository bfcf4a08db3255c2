//! Tables of figures: names to the left, figures to the right, wide ones scroll by themselves.

use maud::{Markup, html};

/// A table whose first column has names.
pub(super) fn table(caption: &str, header: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll {
            table {
                caption { span { (caption) } }
                thead { tr { @for cell in header { th scope="col" { (cell) } } } }
                tbody { @for row in rows { (self::row(row)) } }
            }
        }
    }
}

fn row(cells: &[String]) -> Markup {
    html! {
        tr {
            @if let Some((name, figures)) = cells.split_first() {
                th scope="row" { (name) }
                @for figure in figures { td { (figure) } }
            }
        }
    }
}

/// Names and what they are.
pub(super) fn list(rows: &[(&str, String)]) -> Markup {
    html! { dl { @for (name, value) in rows { @if !value.is_empty() { dt { (name) } dd { (value) } } } } }
}
