//! Numbered lines, the way to judge logs: what is missing, doubled or out of order is counted.

/// What became of the lines `<life> <n>`, n from 1 to `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Lines that did not come.
    pub missing: u64,
    /// Lines that came more than once.
    pub doubled: u64,
    /// Lines that came after a later one.
    pub out_of_order: u64,
    /// Lines that are no numbered lines.
    pub foreign: u64,
}

/// A shell script that writes numbered lines at full speed, and pads each to `width` bytes at least.
pub fn flood(life: &str, last: u64, width: usize) -> String {
    let padding = "x".repeat(width.saturating_sub(life.len() + 9));
    format!("exec awk 'BEGIN {{ for (n = 1; n <= {last}; n++) print \"{life} \" n \" {padding}\" }}'")
}

/// Judges what came of lines 1 to `last`.
pub fn judge(bytes: &[u8], life: &str, last: u64) -> Judgement {
    let mut seen = vec![0u32; usize::try_from(last).unwrap() + 1];
    let mut judgement = Judgement::default();
    let mut before = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match number(line, life).filter(|number| (1..=last).contains(number)) {
            Some(number) => {
                seen[usize::try_from(number).unwrap()] += 1;
                judgement.out_of_order += u64::from(number < before);
                before = number;
            }
            None => judgement.foreign += 1,
        }
    }
    judgement.missing = seen[1..].iter().filter(|count| **count == 0).count() as u64;
    judgement.doubled = seen[1..].iter().map(|count| u64::from(count.saturating_sub(1))).sum();
    judgement
}

/// The highest number that came.
pub fn last_number(bytes: &[u8], life: &str) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| number(line, life)).max().unwrap_or_default()
}

fn number(line: &[u8], writer: &str) -> Option<u64> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix(writer)?.strip_prefix(' ')?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_counted() {
        let judgement = judge(b"a 1\na 2 xx\na 2\na 5\na 4\nb 3\nnonsense\n", "a", 6);
        assert_eq!(judgement, Judgement { missing: 2, doubled: 1, out_of_order: 1, foreign: 2 });
        assert_eq!(judge(b"a 1\na 2\n", "a", 2), Judgement::default());
    }
}
