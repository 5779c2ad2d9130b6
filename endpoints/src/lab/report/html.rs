//! A page that needs nothing else.

use std::fmt::Write as _;

use anyhow::Result;

use super::figures::figures;
use super::published;
use super::records::Results;
use super::tables::{Sheet, sheets};
use crate::lab::figure::escaped;

/// Rows beyond which a table is folded.
const LONG: usize = 24;

/// For windows from a phone's width on: figures shrink down to where their text can still be read and scroll
/// then, tables scroll by themselves.
const STYLE: &str = "\
:root{color-scheme:light}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:0 12px 48px;max-width:960px;color:#222;background:#fff}\
h1{font-size:1.6em;line-height:1.2}h2{font-size:1.25em;margin-top:2.2em;border-top:1px solid #ccc;padding-top:.8em}\
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}\
figure{margin:1em 0}figure svg{display:block;width:100%;min-width:520px;max-width:720px;height:auto}\
table{border-collapse:collapse;font-size:.86em;font-variant-numeric:tabular-nums}\
.caption{margin:1.2em 0 .4em;font-size:.9em}\
th,td{padding:.2em .7em .2em 0;text-align:right;white-space:nowrap;border-bottom:1px solid #e6e6e6;vertical-align:top}\
th:first-child,td:first-child{text-align:left}.words td,.words th{text-align:left;white-space:normal;min-width:7em}\
.worse{color:#a00}dl{font-size:.9em;display:grid;grid-template-columns:max-content 1fr;gap:0 1em}\
dd{margin:0;overflow-wrap:anywhere}summary{cursor:pointer;font-weight:600;margin:.6em 0}";

/// The page of these results.
pub(super) fn page(title: &str, files: &[Results]) -> Result<String> {
    let mut page = String::new();
    let name = escaped(title);
    writeln!(
        page,
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width,initial-scale=1'>\
         <title>{name}</title><style>{STYLE}</style></head><body>\n<h1>{name}</h1>"
    )?;
    writeln!(
        page,
        "<p>Accuracy is top-1. A drop is that of the whole tensor less that of the other, in points; intervals \
         are 95 % and pair the two image by image. Bars in figures are these intervals.</p>"
    )?;
    writeln!(page, "<nav><ul>")?;
    for (number, results) in files.iter().enumerate() {
        let (title, model) = (
            escaped(results.said("title")),
            escaped(results.said("model")),
        );
        writeln!(page, "<li><a href='#e{number}'>{title}: {model}</a></li>")?;
    }
    writeln!(page, "</ul></nav>")?;
    if let Some(sheet) = published::sheet(files) {
        writeln!(page, "<h2>Beside what was published</h2>")?;
        table(&mut page, &sheet, "words")?;
    }
    for (number, results) in files.iter().enumerate() {
        experiment(&mut page, number, results)?;
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn experiment(page: &mut String, number: usize, results: &Results) -> Result<()> {
    let title = escaped(results.said("title"));
    let model = escaped(results.said("model"));
    writeln!(page, "<h2 id='e{number}'>{title}: {model}</h2>\n<dl>")?;
    let file = results
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let images = results.header.get("image_count");
    let images = images.and_then(serde_json::Value::as_u64);
    let images = images.map(|count| format!("{count} ({})", results.said("images")));
    let said = [
        ("results", file.as_ref()),
        ("images", images.as_deref().unwrap_or_default()),
        ("side information", results.said("bundle")),
        ("model file, SHA-256", results.said("model_digest")),
        ("network", results.said("network")),
    ];
    for (name, value) in said.into_iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value))?;
    }
    writeln!(page, "</dl>")?;
    let sheets = sheets(results);
    let (short, long): (Vec<&Sheet>, Vec<&Sheet>) =
        sheets.iter().partition(|sheet| sheet.rows.len() <= LONG);
    for sheet in short {
        table(page, sheet, "")?;
    }
    for figure in figures(results) {
        writeln!(page, "<figure class='scroll'>{}</figure>", figure.svg()?)?;
    }
    for sheet in long {
        let rows = sheet.rows.len();
        writeln!(page, "<details><summary>All {rows} cells</summary>")?;
        table(page, sheet, "")?;
        writeln!(page, "</details>")?;
    }
    Ok(())
}

fn table(page: &mut String, sheet: &Sheet, class: &str) -> Result<()> {
    let caption = escaped(&sheet.caption);
    writeln!(
        page,
        "<p class='caption'>{caption}.</p>\n<div class='scroll'><table class='{class}'><thead><tr>"
    )?;
    for column in &sheet.columns {
        write!(page, "<th>{}</th>", escaped(column))?;
    }
    writeln!(page, "</tr></thead><tbody>")?;
    for row in &sheet.rows {
        page.push_str("<tr>");
        for cell in row {
            let cell = match cell.strip_prefix('-') {
                Some(figure) if figure.starts_with(|c: char| c.is_ascii_digit()) => {
                    format!("−{}", escaped(figure))
                }
                _ => escaped(cell),
            };
            let cell = cell.replace("WORSE", "<b class='worse'>WORSE</b>");
            write!(page, "<td>{cell}</td>")?;
        }
        page.push_str("</tr>\n");
    }
    writeln!(page, "</tbody></table></div>")?;
    Ok(())
}
