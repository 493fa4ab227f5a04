//! How one event becomes one line: whatever its fields hold, they neither break the line nor reach
//! a terminal as commands.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Writer, debug_fn},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use crate::printable::{cut, is_obeyed, printable};

/// The name of the field that holds an event's own words.
const MESSAGE: &str = "message";
/// The most bytes of a field's value, which may come from outside.
const MAX_VALUE: usize = 300;
/// The most bytes of an event's own words, which list at times what is wrong with a file.
const MAX_MESSAGE: usize = 4096;

/// The fields of a text line: the message, then `name=value`.
pub(super) fn text_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let shown = printable(format_args!("{value:?}"), limit(field));
        if field.name() == MESSAGE {
            writer.write_str(&shown)
        } else if writer.has_ansi_escapes() {
            write!(writer, "\x1b[3m{field}\x1b[0m\x1b[2m=\x1b[0m{shown}")
        } else {
            write!(writer, "{field}={shown}")
        }
    })
    .delimited(" ")
}

/// A line that is one JSON object: `timestamp`, `level`, the event's own fields, and `target`.
#[derive(Debug)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = JsonLine(format!(r#"{{"timestamp":"{timestamp}""#));
        line.add("level", &Value::from(event.metadata().level().as_str()));
        event.record(&mut line);
        line.add("target", &Value::from(event.metadata().target()));
        writeln!(writer, "{}}}", line.0)
    }
}

/// A JSON object that is not closed yet.
struct JsonLine(String);

impl JsonLine {
    fn add(&mut self, name: &str, value: &Value) {
        // A formatter that writes to a string does not fail.
        let _ = write!(self.0, r#","{name}":"#);
        // JSON has C0's controls escaped already; none of the others stands outside of its strings.
        for character in value.to_string().chars() {
            if is_obeyed(character) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self.0, "\\u{unit:04x}");
                }
            } else {
                self.0.push(character);
            }
        }
    }
}

impl Visit for JsonLine {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), &Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), &Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), &Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), &Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), &Value::from(cut(value, limit(field))));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = cut(format_args!("{value:?}"), limit(field));
        self.add(field.name(), &Value::from(value));
    }
}

fn limit(field: &Field) -> usize {
    if field.name() == MESSAGE {
        MAX_MESSAGE
    } else {
        MAX_VALUE
    }
}
