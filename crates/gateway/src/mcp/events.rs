//! Server-sent events, as far as a stream of messages needs them: the data of each, one by one, as they come.

/// Bytes of a stream, cut into events.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was a carriage return, which a line feed may follow.
    was_return: bool,
}

impl Events {
    /// Takes bytes in, and gives the data of every event that has ended with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.was_return => {}
                b'\n' | b'\r' => ended.extend(self.end_line()),
                byte => self.line.push(*byte),
            }
            self.was_return = *byte == b'\r';
        }
        ended
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        if let Some(value) = line.strip_prefix(b"data").filter(|rest| rest.is_empty() || rest.starts_with(b":")) {
            let value = value.strip_prefix(b":").unwrap_or(value);
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        None
    }
}

/// A message as an event of its own.
pub(super) fn write(message: &str) -> String {
    let data: String = message.lines().map(|line| format!("data: {line}\n")).collect::<Vec<_>>().concat();
    format!("event: message\n{data}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&str]) -> Vec<String> {
        let mut events = Events::default();
        let ended = chunks.iter().flat_map(|chunk| events.take(chunk.as_bytes()));
        ended.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn events_end_with_an_empty_line_however_that_is_written() {
        assert_eq!(events(&["data: a\n\ndata:b\n\n"]), ["a", "b"]);
        assert_eq!(events(&["data: a\r\n\r\ndata: b\r\rdata: c\r", "\n\r\n"]), ["a", "b", "c"]);
        assert_eq!(events(&["id: 1\nevent: message\nda", "ta: {\"a\":\n", "data: 1}\n", "\n"]), ["{\"a\":\n1}"]);
        assert_eq!(events(&[": ping\n\nid: 1\nretry: 5\n\ndata\n\ndatabase: x\n\ndata: a"]), [""]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let message = "{\n  \"a\": 1\n}";
        assert_eq!(events(&[&write(message)]), [message]);
    }
}
