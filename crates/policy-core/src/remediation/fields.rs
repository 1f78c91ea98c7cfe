//! What is filled in: probes, requests and limits of containers.

use std::fmt;

use serde_json::{Value, json};

use crate::quantity::ParsedQuantity;

/// A TCP probe that is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpProbe {
    /// The port to connect to.
    pub port: u16,
    /// `initialDelaySeconds`.
    pub delay: u32,
    /// `periodSeconds`.
    pub period: u32,
    /// `failureThreshold`.
    pub failures: u32,
}

impl TcpProbe {
    /// The longest time from the start of the container to a failure of the probe, in seconds.
    #[must_use]
    pub fn horizon(self) -> u64 {
        u64::from(self.delay) + u64::from(self.period) * u64::from(self.failures)
    }

    /// The probe as in a container. Never with `host`, which would probe another machine.
    #[must_use]
    pub fn json(self) -> Value {
        json!({
            "tcpSocket": { "port": self.port },
            "initialDelaySeconds": self.delay,
            "periodSeconds": self.period,
            "failureThreshold": self.failures,
        })
    }

    /// The probe of a container, where it has a TCP handler with a number as port.
    pub(super) fn of(probe: &Value) -> Option<Self> {
        let number = |name: &str, default| {
            probe[name].as_u64().map_or(Some(default), |number| u32::try_from(number).ok())
        };
        Some(Self {
            port: u16::try_from(probe["tcpSocket"]["port"].as_u64()?).ok()?,
            delay: number("initialDelaySeconds", 0)?,
            period: number("periodSeconds", 10)?,
            failures: number("failureThreshold", 3)?,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("tcp:")?.split(',');
        let port = parts.next()?.parse().ok()?;
        let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
        let (delay, period, failures) =
            (number("delay=")?, number("period=")?, number("failures=")?);
        let is_valid = port > 0 && period > 0 && failures > 0 && parts.next().is_none();
        is_valid.then_some(Self { port, delay, period, failures })
    }
}

impl fmt::Display for TcpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, delay, period, failures } = self;
        write!(f, "tcp:{port},delay={delay},period={period},failures={failures}")
    }
}

/// Requests or limits that are filled in, as quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU.
    pub cpu: Option<String>,
    /// Memory.
    pub memory: Option<String>,
}

impl Amounts {
    /// Those that are set, each with its name in a container.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let each = [("cpu", &self.cpu), ("memory", &self.memory)];
        each.into_iter().filter_map(|(name, amount)| Some((name, amount.as_deref()?)))
    }

    /// The amount of that resource.
    pub(super) fn of(&mut self, resource: &str) -> Option<&mut Option<String>> {
        match resource {
            "cpu" => Some(&mut self.cpu),
            "memory" => Some(&mut self.memory),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.set().next().is_none()
    }
}

/// What is filled in for one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFields {
    /// The name of the container, which is unique in its pod.
    pub name: String,
    /// The readiness probe.
    pub readiness: Option<TcpProbe>,
    /// The liveness probe.
    pub liveness: Option<TcpProbe>,
    /// The requests.
    pub requests: Amounts,
    /// The limits.
    pub limits: Amounts,
}

const READINESS: &str = "readinessProbe";
const LIVENESS: &str = "livenessProbe";

impl ContainerFields {
    /// Whether nothing is filled in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probes().next().is_none() && self.requests.is_empty() && self.limits.is_empty()
    }

    /// The probes, each with its name in a container.
    pub fn probes(&self) -> impl Iterator<Item = (&'static str, TcpProbe)> {
        let probes = [(READINESS, self.readiness), (LIVENESS, self.liveness)];
        probes.into_iter().filter_map(|(name, probe)| Some((name, probe?)))
    }

    /// The requests and limits, each with its path below `resources`.
    pub fn amounts(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        let requests = self.requests.set().map(|(name, amount)| ("requests", name, amount));
        requests.chain(self.limits.set().map(|(name, amount)| ("limits", name, amount)))
    }

    /// The request or limit of a resource.
    pub(super) fn amount(&self, list: &str, resource: &str) -> Option<&str> {
        self.amounts().find(|(of, name, _)| (*of, *name) == (list, resource)).map(|found| found.2)
    }

    /// Takes out a field of the container: a probe, or `resources`.
    pub(crate) fn remove(&mut self, field: &str) {
        match field {
            READINESS => self.readiness = None,
            LIVENESS => self.liveness = None,
            _ => (self.requests, self.limits) = <_>::default(),
        }
    }

    /// The fields as in a container, with its name.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut container = json!({ "name": self.name });
        for (name, probe) in self.probes() {
            container[name] = probe.json();
        }
        for (list, name, amount) in self.amounts() {
            container["resources"][list][name] = amount.into();
        }
        container
    }

    /// The fields that a part of a container has.
    pub(super) fn of(name: &str, container: &Value) -> Self {
        let probe = |name: &str| TcpProbe::of(&container[name]);
        let amounts = |list: &str| {
            let amount = |name: &str| container["resources"][list][name].as_str();
            let [cpu, memory] = ["cpu", "memory"].map(|name| amount(name).map(str::to_owned));
            Amounts { cpu, memory }
        };
        Self {
            name: name.to_owned(),
            readiness: probe(READINESS),
            liveness: probe(LIVENESS),
            requests: amounts("requests"),
            limits: amounts("limits"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, fields) = line.split_once(": ")?;
        let mut parsed = Self { name: name.to_owned(), ..Self::default() };
        for field in fields.split(' ') {
            match field.split_once('=')? {
                (READINESS, probe) => parsed.readiness = Some(TcpProbe::parse(probe)?),
                (LIVENESS, probe) => parsed.liveness = Some(TcpProbe::parse(probe)?),
                (path, amount) => {
                    let (list, resource) = path.split_once('.')?;
                    let amounts = match list {
                        "requests" => &mut parsed.requests,
                        "limits" => &mut parsed.limits,
                        _ => return None,
                    };
                    ParsedQuantity::parse(amount).filter(|amount| !amount.is_negative())?;
                    *amounts.of(resource)? = Some(amount.to_owned());
                }
            }
        }
        let is_valid = !name.is_empty() && !parsed.is_empty();
        is_valid.then_some(parsed)
    }
}

/// As in a status: `web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 requests.cpu=100m`.
impl fmt::Display for ContainerFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        for (name, probe) in self.probes() {
            write!(f, " {name}={probe}")?;
        }
        for (list, name, amount) in self.amounts() {
            write!(f, " {list}.{name}={amount}")?;
        }
        Ok(())
    }
}

/// What is filled in for the containers of a pod; only containers for which anything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<ContainerFields>);

impl Fields {
    /// Whether nothing is filled in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields of a container.
    #[must_use]
    pub fn of(&self, container: &str) -> Option<&ContainerFields> {
        self.0.iter().find(|fields| fields.name == container)
    }

    /// Keeps the fields for which that is true of the name of their container and their path in it,
    /// such as `["readinessProbe"]` and `["resources", "limits", "memory"]`.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &[&str]) -> bool) {
        for ContainerFields { name, readiness, liveness, requests, limits } in &mut self.0 {
            readiness.take_if(|_| !keep(name, &[READINESS]));
            liveness.take_if(|_| !keep(name, &[LIVENESS]));
            for (list, amounts) in [("requests", requests), ("limits", limits)] {
                amounts.cpu.take_if(|_| !keep(name, &["resources", list, "cpu"]));
                amounts.memory.take_if(|_| !keep(name, &["resources", list, "memory"]));
            }
        }
        self.0.retain(|fields| !fields.is_empty());
    }

    /// A line for each container, as a status and an annotation have them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The fields in such lines. A line that cannot be read is left out.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self(lines.into_iter().filter_map(ContainerFields::parse).collect())
    }

    /// The longest time from the start of a container to the failure of a probe, in seconds; 0
    /// without probes.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        let probes = self.0.iter().flat_map(ContainerFields::probes);
        probes.map(|(_, probe)| probe.horizon()).max().unwrap_or_default()
    }

    /// Whether a memory limit is filled in, which could kill a container.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.0.iter().any(|fields| fields.limits.memory.is_some())
    }
}

/// Adds the fields of `more` to an object, at any depth. What both have is that of `more`.
pub(super) fn merge(object: &mut Value, more: &Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (key, value) in more {
                merge(object.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> ContainerFields {
        ContainerFields {
            name: "web".to_owned(),
            readiness: Some(TcpProbe { port: 8080, delay: 5, period: 10, failures: 3 }),
            liveness: Some(TcpProbe { port: 8080, delay: 5, period: 10, failures: 9 }),
            requests: Amounts { cpu: Some("100m".to_owned()), memory: None },
            limits: Amounts { cpu: None, memory: Some("256Mi".to_owned()) },
        }
    }

    #[test]
    fn a_line_says_everything_and_can_be_read_again() {
        let line = fields().to_string();
        assert_eq!(
            line,
            "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
             livenessProbe=tcp:8080,delay=5,period=10,failures=9 requests.cpu=100m \
             limits.memory=256Mi"
        );
        assert_eq!(Fields::parse([&*line]), Fields(vec![fields()]));
        assert_eq!(Fields(vec![fields()]).horizon(), 95);
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        for line in [
            "",
            "web",
            "web: ",
            ": requests.cpu=1",
            "web: requests.gpu=1",
            "web: requests.cpu=lots",
            "web: requests.cpu=-1",
            "web: readinessProbe=http:8080,delay=5,period=10,failures=3",
            "web: readinessProbe=tcp:0,delay=5,period=10,failures=3",
            "web: readinessProbe=tcp:8080,delay=5,period=0,failures=3",
            "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3,host=evil",
        ] {
            assert!(Fields::parse([line]).is_empty(), "{line}");
        }
    }

    #[test]
    fn the_json_is_that_of_a_container() {
        assert_eq!(
            fields().json(),
            json!({
                "name": "web",
                "readinessProbe": {
                    "tcpSocket": { "port": 8080 }, "initialDelaySeconds": 5,
                    "periodSeconds": 10, "failureThreshold": 3,
                },
                "livenessProbe": {
                    "tcpSocket": { "port": 8080 }, "initialDelaySeconds": 5,
                    "periodSeconds": 10, "failureThreshold": 9,
                },
                "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "256Mi" } },
            })
        );
        assert_eq!(ContainerFields::of("web", &fields().json()), fields());
    }
}
