//! Lines and tables of a limited width.

use comfy_table::Table;

/// No line that the program prints is longer, unless a word is.
pub(crate) const WIDTH: usize = 100;
/// Stands in a cell whose text goes on to the end of the line, over the other columns.
pub(crate) const SPAN: char = '\u{2}';

/// What no line begins with.
const UNITS: [&str; 3] = ["%", "ms", "µs"];

/// Breaks a text between words, so that no line is longer than `width` if no word is. A number stays
/// with its unit.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', '.', ':', ';', ')']));
        match words.last_mut().filter(|_| is_unit) {
            Some(number) => *number += &format!(" {word}"),
            None => words.push(word.to_owned()),
        }
    }
    let mut wrapped = String::new();
    let mut length = 0;
    for word in words {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            wrapped.push('\n');
            length = 0;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(&word);
        length += word_length;
    }
    wrapped
}

/// Cuts a text that is too long.
pub(crate) fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Writes the lines of a table, with the next of `spans` from each [`SPAN`] to the end of the line:
/// in the table itself it would widen its column.
pub(crate) fn lines(table: &Table, spans: impl IntoIterator<Item = String>) -> String {
    let mut spans = spans.into_iter();
    let mut text = String::new();
    for line in table.lines() {
        match line.split_once(SPAN) {
            Some((start, _)) => {
                let room = WIDTH - start.chars().count();
                text.push_str(start);
                text.push_str(&cut(&spans.next().unwrap_or_default(), room));
            }
            None => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrap("one two  three", 7), "one two\nthree");
        assert_eq!(wrap("unbreakable", 3), "unbreakable");
    }

    #[test]
    fn a_number_stays_with_its_unit() {
        assert_eq!(wrap("within 3 %", 8), "within\n3 %");
        assert_eq!(wrap("within 3 %, or 5 msgs", 11), "within 3 %,\nor 5 msgs");
        assert_eq!(wrap("one of 5 msgs", 8), "one of 5\nmsgs");
    }
}
