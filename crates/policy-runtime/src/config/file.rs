//! Reading the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use figment::value::{Dict, Value};

/// Nobody writes more than this by hand.
const LARGEST: u64 = 1 << 20;

/// What a file says, or why it could not be read.
pub(super) type Text = Result<String, String>;

/// Reads a file that is no larger than a configuration can be.
pub(super) fn read(path: &Path) -> Text {
    read_up_to(path, LARGEST).map_err(|error| format!("cannot be read: {error}"))
}

fn read_up_to(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let size = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if size as u64 > most {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// The keys of a file; one that says nothing has none.
///
/// Only `true` and `false` are booleans. The ready-made provider for figment also takes the words
/// of YAML 1.1, so that `level: off` would be a boolean, and no level.
pub(super) fn parse(text: &str) -> Result<Dict, String> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Option<Value>>(text, options) {
        Ok(Some(Value::Dict(_, keys))) => Ok(keys),
        Ok(None | Some(Value::Empty(..))) => Ok(Dict::new()),
        Ok(Some(_)) => Err("must hold keys with values (`key: value`)".to_owned()),
        Err(error) => {
            // For those who run the service, not for those who call the parser.
            let error = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            Err(format!("is no valid YAML: {error}"))
        }
    }
}
