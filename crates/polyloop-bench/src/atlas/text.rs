//! Lines of a limited length.

/// Breaks a text between words, so that no line is longer than `width` if no word is.
pub(super) fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            wrapped.push('\n');
            length = 0;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += word_length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_end_between_words() {
        assert_eq!(super::wrap("one two  three", 7), "one two\nthree");
        assert_eq!(super::wrap("unbreakable", 3), "unbreakable");
    }
}
