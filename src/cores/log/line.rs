//! What a line of the log looks like: a sentence for people, or a JSON object for programs. Knows
//! the fields that an event may carry; does not know where lines go.

use std::fmt::{self, Write as _};

use serde::Serializer as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::config::LogFormat;
use crate::cores::log::ENGINE_TARGET;
use crate::text;

/// How lines are written, and the clock that they show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) format: LogFormat,
    pub(crate) clock: Clock,
}

impl Form {
    /// A line of the log's own, about itself.
    pub(crate) fn line(&self, level: Level, message: &str) -> String {
        let event_text = LogEvent { message: message.to_owned(), fields: Vec::new() };
        self.compose(level, "", &event_text)
    }

    fn compose(&self, level: Level, target: &str, event_text: &LogEvent) -> String {
        let (now, pid) = (self.clock.now().unix_ms(), std::process::id());
        let level = match level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        match self.format {
            LogFormat::Text => {
                format!("{now} [{pid}] {level} {}\n", text::visible(&event_text.sentence()))
            }
            LogFormat::Json => {
                let component = if target == ENGINE_TARGET { "engine" } else { "server" };
                let head = [
                    ("timestamp", now.to_string().into()),
                    ("level", level.into()),
                    ("component", component.into()),
                    ("pid", pid.into()),
                    ("message", event_text.message.as_str().into()),
                ];
                object(head.into_iter().chain(event_text.fields.iter().cloned())) + "\n"
            }
        }
    }
}

impl<S, N> FormatEvent<S, N> for Form
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut event_text = LogEvent::default();
        event.record(&mut event_text);
        let metadata = event.metadata();
        out.write_str(&self.compose(*metadata.level(), metadata.target(), &event_text))
    }
}

/// In this order, which a map of `serde_json` would not keep.
fn object(fields: impl Iterator<Item = (&'static str, Value)>) -> String {
    let fields = fields.map(|(name, value)| match value {
        Value::String(text) => (name, text::visible(&text).into()),
        value => (name, value),
    });
    let mut bytes = Vec::with_capacity(256);
    let written = serde_json::Serializer::new(&mut bytes).collect_map(fields);
    written.expect("texts and numbers, into memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// The fields of an event.
#[derive(Default)]
struct LogEvent {
    /// The sentence, followed by the fields that are not among [`FIELDS`].
    message: String,
    /// The fields that are among [`FIELDS`], in the order of the event.
    fields: Vec<(&'static str, Value)>,
}

/// The fields that a line may have beside its message, named as in the client protocol. `event` is
/// [`crate::messages::EventName::name`]. A line with `repeated` stands for that many events that
/// were not written.
const FIELDS: [&str; 8] =
    ["event", "exchange", "contract_type", "symbol", "interval", "session", "shard", "repeated"];

impl LogEvent {
    /// The text for people: the market, the sentence, and how often it was repeated. The sentence
    /// itself names symbol and session if it needs them.
    fn sentence(&self) -> String {
        let field = |name| self.fields.iter().find(|(one, _)| *one == name).map(|(_, value)| value);
        let text = |name| field(name).and_then(Value::as_str);
        let mut sentence = String::new();
        if let (Some(venue), Some(contract_type)) = (text("exchange"), text("contract_type")) {
            sentence = format!("{venue} {contract_type}: ");
        }
        sentence += &self.message;
        if let Some(count) = field("repeated") {
            let _ = write!(sentence, " (repeated {count} times)");
        }
        sentence
    }

    fn take(&mut self, field: &Field, value: Value) {
        match FIELDS.into_iter().find(|name| *name == field.name()) {
            Some(name) => self.fields.push((name, value)),
            None => self.record_debug(field, &format_args!("{value}")),
        }
    }
}

impl Visit for LogEvent {
    fn record_str(&mut self, field: &Field, value: &str) {
        if FIELDS.contains(&field.name()) {
            self.take(field, value.into());
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.message, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_text(message: &str, fields: &[(&'static str, Value)]) -> LogEvent {
        LogEvent { message: message.to_owned(), fields: fields.to_vec() }
    }

    fn line(format: LogFormat, event_text: &LogEvent) -> String {
        let form = Form { format, clock: Clock::new() };
        form.compose(Level::WARN, ENGINE_TARGET, event_text)
    }

    #[test]
    fn a_message_stays_on_its_line() {
        let event_text =
            event_text("a\nb\u{85}\"\\", &[("symbol", "\u{9b}X\u{2028}\u{202e}".into())]);
        let json = line(LogFormat::Json, &event_text);
        assert_eq!(json.matches(text::is_hidden).collect::<Vec<_>>(), ["\n"]);
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["message"], "a\\nb\\u{85}\"\\");
        assert_eq!(line(LogFormat::Text, &event_text).matches('\n').count(), 1);
    }

    #[test]
    fn people_read_the_market_before_the_sentence_and_programs_read_it_in_fields() {
        let fields = [
            ("event", "session_lost".into()),
            ("exchange", "binance".into()),
            ("contract_type", "spot".into()),
            ("session", 3.into()),
            ("repeated", 2.into()),
        ];
        let event_text = event_text("session 3 is lost", &fields);
        let text = line(LogFormat::Text, &event_text);
        let pid = std::process::id();
        let expected =
            format!("+00:00 [{pid}] WARNING binance spot: session 3 is lost (repeated 2 times)\n");
        assert_eq!(&text[23..], expected);
        let json = line(LogFormat::Json, &event_text);
        let (head, rest) = json.split_at(json.find(",\"level\"").unwrap());
        assert!(head.starts_with("{\"timestamp\":\"2") && head.ends_with("+00:00\""), "{head}");
        assert_eq!(
            rest,
            format!(
                ",\"level\":\"WARNING\",\"component\":\"engine\",\"pid\":{pid},\
                 \"message\":\"session 3 is lost\",\"event\":\"session_lost\",\
                 \"exchange\":\"binance\",\"contract_type\":\"spot\",\
                 \"session\":3,\"repeated\":2}}\n"
            )
        );
    }
}
