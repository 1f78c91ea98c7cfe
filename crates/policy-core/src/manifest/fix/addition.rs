//! The fields that a container gets, in the order in which they are written.

use serde_json::Value;

use super::value::plain;
use crate::remediation::{ContainerFields, TcpProbe};

/// A key and what is added to it.
pub(super) type Entry = (&'static str, Addition);

/// What a key gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addition {
    /// A number or a text.
    Scalar(Value),
    /// Entries of a mapping.
    Mapping(Vec<Entry>),
}

/// The fields of a container.
pub(super) fn additions(fields: &ContainerFields) -> Vec<Entry> {
    let mut added: Vec<Entry> = fields.probes().map(|(name, of)| (name, probe(of))).collect();
    let resources = ["requests", "limits"].map(|list| {
        let amounts = fields.amounts().filter(|(of, ..)| *of == list);
        let amounts = amounts.map(|(_, name, amount)| (name, Addition::Scalar(amount.into())));
        (list, Addition::Mapping(amounts.collect()))
    });
    let is_set = |(_, list): &Entry| *list != Addition::Mapping(Vec::new());
    let resources: Vec<Entry> = resources.into_iter().filter(is_set).collect();
    if !resources.is_empty() {
        added.push(("resources", Addition::Mapping(resources)));
    }
    added
}

fn probe(probe: TcpProbe) -> Addition {
    let number = |number: u32| Addition::Scalar(number.into());
    Addition::Mapping(vec![
        ("tcpSocket", Addition::Mapping(vec![("port", number(probe.port.into()))])),
        ("initialDelaySeconds", number(probe.delay)),
        ("periodSeconds", number(probe.period)),
        ("failureThreshold", number(probe.failures)),
    ])
}

/// A scalar as it is written: a text in quotes only where it would be something else without.
pub(super) fn written(scalar: &Value) -> String {
    match scalar {
        Value::String(text) if is_plain(text) => text.clone(),
        scalar => scalar.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let is_harmless = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    is_harmless && plain(text).is_some_and(|value| value.is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remediation::Amounts;

    #[test]
    fn a_text_has_quotes_only_where_it_would_be_a_number() {
        let written: Vec<String> = ["100m", "128Mi", "1", "0.5", "1e3", "1_0"]
            .map(|text| super::written(&text.into()))
            .into();
        assert_eq!(written, ["100m", "128Mi", "\"1\"", "\"0.5\"", "\"1e3\"", "\"1_0\""]);
        assert_eq!(super::written(&8080.into()), "8080");
    }

    fn value(entries: &[Entry]) -> Value {
        let entries = entries.iter().map(|(key, addition)| {
            let of_key = match addition {
                Addition::Scalar(scalar) => scalar.clone(),
                Addition::Mapping(entries) => value(entries),
            };
            ((*key).to_owned(), of_key)
        });
        Value::Object(entries.collect())
    }

    #[test]
    fn the_fields_are_those_of_the_planner() {
        let amounts = |cpu: &str| Amounts { cpu: Some(cpu.to_owned()), memory: Some("1Gi".into()) };
        let fields = ContainerFields {
            name: "web".to_owned(),
            readiness: Some(TcpProbe { port: 80, delay: 1, period: 2, failures: 3 }),
            liveness: Some(TcpProbe { port: 80, delay: 1, period: 2, failures: 9 }),
            requests: amounts("1"),
            limits: amounts("2"),
        };
        let mut planned = fields.json();
        planned.as_object_mut().unwrap().remove("name");
        assert_eq!(value(&additions(&fields)), planned);
        assert_eq!(additions(&ContainerFields::default()), []);
    }
}
