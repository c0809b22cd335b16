//! The A-label of a label with letters outside ASCII (RFC 3492), to suggest in an error.

/// The A-label of `label` in lower case.
///
/// `None` unless every letter is one that IDNA keeps as it is (RFC 5892) and that composes with
/// nothing, so that no mapping or normalisation tables are needed.
pub(super) fn a_label(label: &str) -> Option<String> {
    let letters: Vec<char> = label.chars().flat_map(char::to_lowercase).collect();
    if !letters.iter().copied().all(is_plain) {
        return None;
    }
    let encoded = encode(&letters)?;
    let text = format!("xn--{encoded}");
    (text.len() <= 63).then_some(text)
}

/// Host-name characters of ASCII, and composed small letters of scripts in wide use.
fn is_plain(letter: char) -> bool {
    match letter {
        'a'..='z' | '0'..='9' | '-' | '_' => true,
        '\u{f7}' | '\u{133}' | '\u{140}' | '\u{149}' | '\u{17f}' => false,
        '\u{df}'..='\u{17e}' => letter.is_lowercase(),
        '\u{3ac}'..='\u{3ce}' | '\u{430}'..='\u{45f}' => true,
        '\u{4e00}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7a3}' => true,
        _ => false,
    }
}

/// RFC 3492 section 6.3 with the parameters of section 5.
fn encode(letters: &[char]) -> Option<String> {
    let mut out: String = letters.iter().filter(|c| c.is_ascii()).collect();
    let basic = out.len() as u32;
    if basic > 0 {
        out.push('-');
    }
    let (mut code, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72, basic);
    while (handled as usize) < letters.len() {
        let next = letters.iter().map(|&c| c as u32).filter(|&c| c >= code).min()?;
        delta = delta.checked_add((next - code).checked_mul(handled + 1)?)?;
        code = next;
        for letter in letters.iter().map(|&c| c as u32) {
            if letter < code {
                delta += 1;
            } else if letter == code {
                push_number(&mut out, delta, bias);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta += 1;
        code += 1;
    }
    Some(out)
}

/// Writes a variable-length integer, least significant digit first.
fn push_number(out: &mut String, mut number: u32, bias: u32) {
    let digit = |d: u32| char::from(if d < 26 { b'a' + d as u8 } else { b'0' + (d - 26) as u8 });
    for k in (36..).step_by(36) {
        let threshold = (k as u32).saturating_sub(bias).clamp(1, 26);
        if number < threshold {
            break;
        }
        out.push(digit(threshold + (number - threshold) % (36 - threshold)));
        number = (number - threshold) / (36 - threshold);
    }
    out.push(digit(number));
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = delta / if first { 700 } else { 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_a_labels() {
        for (label, expected) in [
            ("bücher", "xn--bcher-kva"),
            ("BÜCHER", "xn--bcher-kva"),
            ("münchen-ost", "xn--mnchen-ost-9db"),
            ("例子", "xn--fsqu00a"),
            ("пример", "xn--e1afmkfd"),
            ("παράδειγμα", "xn--hxajbheg2az3al"),
        ] {
            assert_eq!(a_label(label).as_deref(), Some(expected), "{label}");
        }
    }

    #[test]
    fn gives_nothing_where_tables_would_be_needed() {
        // A combining mark, a full-width letter, a joiner.
        for label in ["bu\u{308}cher", "ｆｏｏ", "a\u{200d}b", "a*ü"] {
            assert_eq!(a_label(label), None, "{label}");
        }
        assert_eq!(a_label(&"ü".repeat(200)), None);
    }
}
