//! A server of another make, which answers as the test tells it, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use farthing::core::header;
use serde_json::{Value, json};

/// Listens until the test's process ends.
pub struct Peer {
    /// Where it listens.
    pub url: String,
}

impl Peer {
    /// Answers each request, given as text, with what `answer` makes of it; `None` closes the connection.
    pub fn new(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(answer) = answer(&request(&stream)) {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Self { url }
    }

    /// Asks everybody to pay on these terms; who has paid is answered with `answer`.
    pub fn paid(offers: &Value, answer: impl Fn() -> Option<String> + Send + 'static) -> Self {
        let terms = required(offers);
        Self::new(move |request| if has_payment(request) { answer() } else { Some(terms.clone()) })
    }
}

/// An HTTP answer.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

/// A 402 with these offers.
pub fn required(offers: &Value) -> String {
    let terms = json!({"x402Version": 2, "error": "pay first", "accepts": offers});
    answer("402 Payment Required", &format!("payment-required: {}\r\n", header::encode(&terms).unwrap()), "{}")
}

/// One cent in USDC on Base Sepolia.
pub fn offer() -> Value {
    json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "maxTimeoutSeconds": 60,
        "extra": {"name": "USDC", "version": "2"},
    })
}

pub fn has_payment(request: &str) -> bool {
    request.to_ascii_lowercase().contains("\r\npayment-signature:")
}

/// Head and body of one request.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut text, mut body_bytes) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return text;
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; body_bytes];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}
