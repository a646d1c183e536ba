//! Parses data files.

use std::borrow::Cow;
use std::io::Read as _;

use barrage_model::plan::DataFormat;
use serde_json::Value;

use super::super::extracts::is_rounded;
use super::{FILE_MAX, Filling, Table};

/// A record after all others. A field whose quote is never closed takes in all that follows it, this record as well.
const AFTER: &[u8] = b"\nend";

/// Parses a file and keeps the given columns.
///
/// # Errors
/// What is wrong with the file, without any of its values; lines count from 1.
pub(in crate::scenario) fn read(format: DataFormat, content: &[u8], columns: &[String]) -> Result<Table, String> {
    if content.len() > FILE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_MAX / 1024 / 1024));
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    match format {
        DataFormat::Csv => csv(content, columns),
        DataFormat::JsonLines => json_lines(content, columns),
    }
}

fn csv(content: &[u8], columns: &[String]) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(content.chain(AFTER));
    let end = content.len() as u64;
    let took_all = |reader: &csv::Reader<_>| reader.position().byte() > end + 1;
    // What lies before a record may be line breaks, those that ended the one before among them.
    let is_blank = |from: u64| {
        content[from.min(end) as usize..]
            .iter()
            .all(|byte| b"\r\n".contains(byte))
    };
    if is_blank(0) {
        return Err("it has no rows".to_owned());
    }
    let header = reader.headers().map_err(|error| csv_problem(content, &error))?.clone();
    if took_all(&reader) {
        return Err("line 1: a quote is not closed".to_owned());
    }
    let mut places = Vec::with_capacity(columns.len());
    for column in columns {
        let mut found = (0..header.len()).filter(|place| header[*place].trim() == column);
        places.push(found.next().ok_or_else(|| format!("it has no column `{column}`"))?);
        if found.next().is_some() {
            return Err(format!("line 1: it has more than one column `{column}`"));
        }
    }
    let mut filling = Filling::new(columns.len());
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| csv_problem(content, &error))?
    {
        let Some(from) = record
            .position()
            .map(csv::Position::byte)
            .filter(|from| !is_blank(*from))
        else {
            break;
        };
        if took_all(&reader) {
            return Err(format!("line {}: a quote is not closed", line_at(content, from)));
        }
        if record.len() != header.len() {
            let (line, len, expected) = (line_at(content, from), record.len(), header.len());
            return Err(format!("line {line}: it has {len} fields, the header has {expected}"));
        }
        filling.row(places.iter().map(|place| record.get(*place).map(Cow::Borrowed)))?;
    }
    filling.finish()
}

/// The line of the first that is no line break from here on.
fn line_at(content: &[u8], from: u64) -> usize {
    let from = content.len().min(usize::try_from(from).unwrap_or(usize::MAX));
    let breaks = content[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let before = content[..from + breaks].iter();
    before.map(|byte| usize::from(*byte == b'\n')).sum::<usize>() + 1
}

/// What is wrong, without the text that is wrong.
fn csv_problem(content: &[u8], error: &csv::Error) -> String {
    let line = error
        .position()
        .map_or(String::new(), |at| format!("line {}: ", line_at(content, at.byte())));
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => format!("{line}it is not UTF-8"),
        _ => format!("{line}it is not CSV"),
    }
}

fn json_lines(content: &[u8], columns: &[String]) -> Result<Table, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut filling = Filling::new(columns.len());
    let mut seen = vec![false; columns.len()];
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let problem = || format!("line {}: it is not a JSON object", at + 1);
        let Value::Object(object) = serde_json::from_str(line).map_err(|_| problem())? else {
            return Err(problem());
        };
        if let Some(column) = columns
            .iter()
            .find(|column| object.get(*column).is_some_and(is_rounded))
        {
            return Err(format!(
                "line {}: `{column}` is, or holds, a number that 64 bits do not hold; in quotes it stays as it is",
                at + 1
            ));
        }
        filling.row(columns.iter().zip(&mut seen).map(|(column, seen)| {
            let value = object.get(column)?;
            *seen = true;
            Some(match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                other => Cow::Owned(other.to_string()),
            })
        }))?;
    }
    if let Some(missing) = columns.iter().zip(&seen).find(|(_, seen)| !**seen && filling.rows > 0) {
        return Err(format!("no line has a field `{}`", missing.0));
    }
    filling.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: DataFormat, content: &str, columns: &[&str]) -> String {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        match read(format, content.as_bytes(), &columns) {
            Err(problem) => problem,
            Ok(table) => {
                let row = |row| {
                    let cells = (0..columns.len() as u16).map(|at| table.cell(row, at).unwrap_or("-"));
                    cells.collect::<Vec<_>>().join("|")
                };
                (0..table.rows()).map(row).collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_is_refused() {
        let want = "line 2: `a` is, or holds, a number that 64 bits do not hold; in quotes it stays as it is";
        assert_eq!(
            show(
                DataFormat::JsonLines,
                "{\"a\":1}\n{\"a\":[12345678901234567890123]}\n",
                &["a"]
            ),
            want
        );
    }

    #[test]
    fn files_become_rows() {
        use DataFormat::{Csv, JsonLines};
        for (format, content, columns, want) in [
            (
                Csv,
                "id,name\n1,a\n2,\"b, \"\"c\"\"\"\n",
                &["name", "id"][..],
                "a|1\nb, \"c\"|2",
            ),
            (Csv, "\u{feff}id\r\n1\r\n\r\n2", &["id"], "1\n2"),
            (Csv, " id , x\n 1 ,\n", &["id", "x"], " 1 |"),
            (Csv, "id\n1\n", &["nme"], "it has no column `nme`"),
            (
                Csv,
                "a,b\n1,2\n3\n",
                &["a"],
                "line 3: it has 1 fields, the header has 2",
            ),
            (Csv, "id\r\n1\r\n2\r\n", &["id"], "1\n2"),
            (Csv, "id\r\n1\r\n\r\n\r\n", &["id"], "1"),
            (Csv, "id\n1\n\n2\n\n", &["id"], "1\n2"),
            (Csv, "id\n\"1\"\n", &["id"], "1"),
            (Csv, "id\r\n\"1\"\r\n", &["id"], "1"),
            (Csv, "\r\n\nid\n1", &["id"], "1"),
            (
                Csv,
                "a,b\r\n1,2\r\n\r\n3\r\n",
                &["a"],
                "line 4: it has 1 fields, the header has 2",
            ),
            (Csv, "a\r\n", &["a"], "it has no rows"),
            (Csv, "\r\n\n", &["a"], "it has no rows"),
            (Csv, "a\r\n\"1\r\n\r\n", &["a"], "line 2: a quote is not closed"),
            (Csv, "a,b\n1,\"x\ny\"\n2,z", &["b"], "x\ny\nz"),
            (Csv, "a,b\n1,5\" wide\n2,\"z\"", &["b"], "5\" wide\nz"),
            (Csv, "a,b\n1,2\n3,\"4\n5,6\n", &["a"], "line 3: a quote is not closed"),
            (Csv, "a,b\n1,2\n\"3,4\n5,6", &["a"], "line 3: a quote is not closed"),
            (Csv, "a\n1\n\"", &["a"], "line 3: a quote is not closed"),
            (Csv, "a,\"b\n1,2\n", &["a"], "line 1: a quote is not closed"),
            (Csv, "a,b, a\n1,2,3\n", &["b"], "2"),
            (
                Csv,
                "a,b, a\n1,2,3\n",
                &["a"],
                "line 1: it has more than one column `a`",
            ),
            (Csv, "a\n", &["a"], "it has no rows"),
            (Csv, "", &[], "it has no rows"),
            (
                JsonLines,
                "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":{\"c\":[null,\"y\"]}}\n",
                &["a", "b"],
                "1|x\n{\"c\":[null,\"y\"]}|-",
            ),
            (JsonLines, "{\"a\":1}\n[2]\n", &["a"], "line 2: it is not a JSON object"),
            (JsonLines, "{\"a\":1\n", &["a"], "line 1: it is not a JSON object"),
            (JsonLines, "{\"a\":1}", &["b"], "no line has a field `b`"),
            (JsonLines, "\n", &["a"], "it has no rows"),
        ] {
            assert_eq!(show(format, content, columns), want, "{content:?}");
        }
        let binary = |format| read(format, b"a\n\xff\n", &["a".to_owned()]).unwrap_err();
        assert_eq!(binary(Csv), "line 2: it is not UTF-8");
        let crlf = read(Csv, b"a\r\n1\r\n\xff\r\n", &["a".to_owned()]).unwrap_err();
        assert_eq!(crlf, "line 3: it is not UTF-8");
        assert_eq!(binary(JsonLines), "it is not UTF-8");
    }

    /// Whatever six bytes follow a header: rows are what the library makes of them, or a quote is open at the end.
    #[test]
    fn line_breaks_and_quotes_in_any_order_are_read_as_the_library_reads_them() {
        let letters = [b'x', b'"', b',', b'\r', b'\n'];
        for number in 0..letters.len().pow(6) {
            let place = |at: u32| letters[number / letters.len().pow(at) % letters.len()];
            let content = [b"h\r\n".as_slice(), &[0, 1, 2, 3, 4, 5].map(place)].concat();
            let rows: Result<Vec<csv::StringRecord>, _> =
                csv::Reader::from_reader(content.as_slice()).records().collect();
            let wanted = rows.ok().filter(|rows| !rows.is_empty());
            let text = String::from_utf8(content).unwrap();
            match (read(DataFormat::Csv, text.as_bytes(), &["h".to_owned()]), wanted) {
                (Ok(table), Some(rows)) => {
                    let cells: Vec<_> = (0..table.rows()).map(|row| table.cell(row, 0)).collect();
                    assert_eq!(cells, rows.iter().map(|row| row.get(0)).collect::<Vec<_>>(), "{text:?}");
                }
                (Err(_), None) => {}
                (Err(problem), Some(_)) => {
                    assert!(problem.ends_with("a quote is not closed"), "{text:?}: {problem}");
                    assert!(text.contains('"'), "{text:?}: {problem}");
                }
                (Ok(_), None) => panic!("{text:?} is read, but is no CSV"),
            }
        }
    }
}
