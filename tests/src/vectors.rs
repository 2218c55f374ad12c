//! Replays the golden vectors of RCP against any server: see `format_notes` in the file itself.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use rstmdb_protocol::WireMode;
use rstmdb_testkit::wire::{Wire, frame_of, request};
use serde_json::{Map, Value, json};

/// How requests of the exchanges travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Frames both ways.
    Frames,
    /// Lines both ways.
    Lines,
    /// Requests in frames, everything else in lines.
    FramesForLines,
}

fn file() -> Value {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join("rcp-vectors.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Replays all exchanges; says how many there were.
pub fn exchanges(address: SocketAddr, form: Form, run: &str) -> usize {
    let count = replayed(address, form, run, |_| true);
    assert_eq!(count, file()["counts"]["exchanges"]);
    count
}

/// The same at a member of a group, which does not say that it is alone.
pub fn exchanges_of_a_member(address: SocketAddr, form: Form, run: &str) -> usize {
    replayed(address, form, run, |name| !name.contains("on a standalone server"))
}

fn replayed(address: SocketAddr, form: Form, run: &str, counts: impl Fn(&str) -> bool) -> usize {
    let mut replay = Replay {
        address,
        form,
        run: run.to_owned(),
        known: HashMap::new(),
        connections: BTreeMap::new(),
    };
    let mut count = 0;
    let file = file();
    let all = list(&file["groups"]).iter().flat_map(|group| list(&group["exchanges"]));
    for exchange in all.filter(|exchange| exchange["name"].as_str().is_some_and(&counts)) {
        replay.exchange(exchange);
        count += 1;
    }
    count
}

struct Replay {
    address: SocketAddr,
    form: Form,
    run: String,
    known: HashMap<String, Value>,
    connections: BTreeMap<String, Wire>,
}

impl Replay {
    fn connect(&self) -> Wire {
        match self.form {
            Form::Frames => Wire::connect(self.address),
            Form::Lines | Form::FramesForLines => Wire::lines(self.address),
        }
    }

    fn exchange(&mut self, exchange: &Value) {
        let name = exchange["name"].as_str().unwrap();
        let place = match exchange["connection"].as_str() {
            Some("fresh") => format!("fresh for {name}"),
            other => other.unwrap_or("main").to_owned(),
        };
        let fresh = |replay: &Replay| replay.connect();
        let mut wire = match self.connections.remove(&place) {
            Some(wire) => wire,
            None => fresh(self),
        };
        if let Some(events) = exchange["events"].as_array() {
            for event in events {
                let came = wire.event();
                self.expect(name, &[event], came);
            }
            // An event on its way when the first was asked comes before the answer to the second.
            let mut rest = wire.events_until_pong();
            rest.extend(wire.events_until_pong());
            assert!(rest.is_empty(), "{name}: events nobody expects: {rest:?}");
        }
        if exchange.get("request").is_some() {
            self.ask(&mut wire, name, exchange);
        }
        if exchange["then_closed"] == true {
            assert!(wire.receive().is_none(), "{name}: said something after the end");
        } else {
            self.connections.insert(place, wire);
        }
    }

    fn ask(&mut self, wire: &mut Wire, name: &str, exchange: &Value) {
        let asked = self.substitute(&exchange["request"]);
        let op = asked["op"].as_str().unwrap();
        // A connection of lines stays one: the vectors of HELLO ask for frames, so they get a
        // connection of their own.
        let apart = op == "HELLO" && self.form != Form::Frames;
        let mut own = apart.then(|| Wire::connect(self.address));
        let form = if apart { Form::Frames } else { self.form };
        let wire = own.as_mut().unwrap_or(wire);
        let mut message = json!({ "type": "request", "id": format!("of {name}") });
        let Value::Object(members) = &mut message else { unreachable!() };
        members.extend(asked.as_object().unwrap().clone());
        let mut bytes = message.to_string().into_bytes();
        match form {
            Form::Lines => bytes.push(b'\n'),
            Form::Frames | Form::FramesForLines => bytes = frame_of(&bytes),
        }
        wire.send_bytes(&bytes);
        if exchange["may_close"] == true && form == Form::Frames {
            // The published server closes; reading finds either.
            if let Ok(Some(answer)) = wire.try_receive() {
                self.answer(name, exchange, &message["id"], answer);
            }
        } else {
            let answer = wire.answer();
            self.answer(name, exchange, &message["id"], answer);
        }
    }

    fn answer(&mut self, name: &str, exchange: &Value, id: &Value, mut answer: Value) {
        assert_eq!(answer["id"], *id, "{name}: {answer}");
        assert_eq!(answer["type"], "response", "{name}: {answer}");
        let members = answer.as_object_mut().unwrap();
        for envelope in ["id", "type", "meta"] {
            members.remove(envelope);
        }
        members.retain(|_, value| !value.is_null());
        let mut choices = vec![&exchange["response"]];
        choices.extend(list(&exchange["also_acceptable"]));
        self.expect(name, &choices, answer);
    }

    /// One of the choices must fit; what it captures is kept.
    fn expect(&mut self, name: &str, choices: &[&Value], actual: Value) {
        let mut reasons = Vec::new();
        for choice in choices {
            let mut known = self.known.clone();
            let wanted = self.substitute(choice);
            match fits(&wanted, &actual, &mut known) {
                Ok(()) => {
                    self.known = known;
                    return;
                }
                Err(reason) => reasons.push(reason),
            }
        }
        panic!("{name}: {reasons:?}: {actual}");
    }

    /// Puts in the token of this run, and into requests what was captured.
    fn substitute(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                if let Some(known) = placeholder(text, "ref").and_then(|n| self.known.get(n)) {
                    return known.clone();
                }
                text.replace("{{run}}", &self.run).into()
            }
            Value::Array(items) => items.iter().map(|item| self.substitute(item)).collect(),
            Value::Object(members) => {
                let members = members.iter().map(|(key, v)| (key.clone(), self.substitute(v)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

fn placeholder<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    text.strip_prefix('<')?.strip_suffix('>')?.strip_prefix(kind)?.strip_prefix(':')
}

/// Whether a value is as the pattern says; the error tells where it is not.
fn fits(wanted: &Value, actual: &Value, known: &mut HashMap<String, Value>) -> Result<(), String> {
    let misfit = || Err(format!("wanted {wanted}, got {actual}"));
    match (wanted, actual) {
        (Value::String(text), _) if text.starts_with('<') && text.ends_with('>') => {
            if fits_placeholder(text, actual, known) {
                Ok(())
            } else {
                misfit()
            }
        }
        (Value::Object(wanted), Value::Array(items)) => {
            let (is_exact, patterns) = match (wanted.get("<unordered>"), wanted.get("<contains>")) {
                (Some(patterns), None) => (true, list(patterns)),
                (None, Some(patterns)) => (false, list(patterns)),
                _ => return misfit(),
            };
            let mut left: Vec<&Value> = items.iter().collect();
            for pattern in patterns {
                let found = left.iter().position(|item| fits(pattern, item, known).is_ok());
                let Some(found) = found else { return Err(format!("{pattern} is not there")) };
                left.remove(found);
            }
            if is_exact && !left.is_empty() { misfit() } else { Ok(()) }
        }
        (Value::Object(wanted), Value::Object(actual)) => {
            for (key, wanted) in wanted {
                let Some(actual) = actual.get(key) else { return Err(format!("{key} is missing")) };
                fits(wanted, actual, known).map_err(|reason| format!("{key}: {reason}"))?;
            }
            // An error may tell more, also that of an element of a batch.
            let is_extra = |key: &str| key == "details" && wanted.contains_key("code");
            match actual.keys().find(|key| !wanted.contains_key(*key) && !is_extra(key)) {
                Some(key) => Err(format!("{key} is one too many")),
                None => Ok(()),
            }
        }
        (Value::Array(wanted), Value::Array(actual)) if wanted.len() == actual.len() => {
            wanted.iter().zip(actual).try_for_each(|(wanted, actual)| fits(wanted, actual, known))
        }
        _ if wanted == actual => Ok(()),
        _ => misfit(),
    }
}

fn fits_placeholder(text: &str, actual: &Value, known: &mut HashMap<String, Value>) -> bool {
    match text {
        "<uint>" => return actual.is_u64(),
        "<uint_or_null>" => return actual.is_u64() || actual.is_null(),
        "<number>" => return actual.is_number(),
        "<string>" => return actual.is_string(),
        "<any>" => return true,
        _ => {}
    }
    let number = |name: &str, known: &HashMap<String, Value>| known.get(name)?.as_u64();
    if let Some(pattern) = placeholder(text, "match") {
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        return actual.as_str().is_some_and(|text| pattern.is_match(text));
    }
    if let Some(name) = placeholder(text, "capture") {
        known.insert(name.to_owned(), actual.clone());
        return !actual.is_null();
    }
    if let Some(name) = placeholder(text, "ref") {
        return known.get(name) == Some(actual);
    }
    if let Some(name) = placeholder(text, "gt") {
        return actual.as_u64() > number(name, known) && number(name, known).is_some();
    }
    if let Some(name) = placeholder(text, "ge") {
        return actual.as_u64() >= number(name, known) && number(name, known).is_some();
    }
    if let Some((old, new)) =
        placeholder(text, "gt_capture").and_then(|names| names.split_once(','))
    {
        let is_more = number(old, known).is_some() && actual.as_u64() > number(old, known);
        known.insert(new.to_owned(), actual.clone());
        return is_more;
    }
    panic!("the placeholder {text} is not known")
}

/// Sends the recorded bytes, each on a connection of its own; says how many there were.
pub fn frames(address: SocketAddr) -> usize {
    let file = file();
    for frame in list(&file["frames"]) {
        let name = frame["name"].as_str().unwrap();
        let mut wire = Wire::connect(address);
        wire.send_bytes(&bytes(frame["send_hex"].as_str().unwrap()));
        for wanted in list(&frame["responses"]) {
            let mut answer = wire.receive().unwrap_or_else(|| panic!("{name}: no answer"));
            answer.as_object_mut().unwrap().remove("meta");
            assert_eq!(answer, *wanted, "{name}");
        }
        let is_usable = frame["still_usable"] != false;
        match frame["connection"].as_str().unwrap() {
            "open" if is_usable => {
                let answer = wire.call("PING", json!({})).unwrap();
                assert_eq!(answer, json!({ "pong": true }), "{name}");
            }
            // Nothing can be said on it; that it is open shows when the rest of the frame comes.
            "open" | "open_or_closed" => {}
            "closed" => {
                let said = wire.await_close();
                assert!(said.len() <= 1, "{name}: {said:?}");
                assert!(said.iter().all(|answer| answer["status"] == "error"), "{name}: {said:?}");
            }
            "closed_or_error" => {
                let id = "after";
                let _ = wire.try_send_bytes(&request(WireMode::Frames, id, "PING", &json!({})));
                for message in std::iter::from_fn(|| wire.try_receive().ok().flatten()) {
                    if message["id"] == id {
                        break;
                    }
                    assert_eq!(message["status"], "error", "{name}: {message}");
                }
            }
            other => panic!("{name}: {other}"),
        }
    }
    let count = list(&file["frames"]).len();
    assert_eq!(count, file["counts"]["frames"]);
    count
}

/// Bytes from hexadecimal digits.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
