//! Remarks on printed objects, as comments of YAML.

/// The longest line of a comment.
const WIDTH: usize = 100;

/// The remarks below a title, as comments.
pub(crate) fn comments(title: &str, remarks: &[String]) -> String {
    let mut lines = vec![format!("# {title}")];
    for remark in remarks {
        lines.extend(wrapped(remark).into_iter().enumerate().map(|(number, line)| {
            let bullet = if number == 0 { "# - " } else { "#   " };
            format!("{bullet}{line}")
        }));
    }
    lines.join("\n") + "\n"
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < WIDTH - 4 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
