//! The `[gateway.admin]` table: where whoever runs the gateway can watch it.

use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::Error as _;

use super::{Reference, socket_address};

/// A listener of its own for metrics, health and the dashboard. What it shows is nobody else's business: without a key it is for
/// this machine alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the key is kept that whoever looks must show, as a bearer token or as the password of HTTP's basic login. Off
    /// loopback it must be set.
    pub key: Option<Reference>,
}

impl<'de> Deserialize<'de> for Admin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            #[serde(default = "loopback", deserialize_with = "socket_address")]
            listen: SocketAddr,
            #[serde(default)]
            key: Option<Reference>,
        }
        let Written { listen, key } = Written::deserialize(deserializer)?;
        if !listen.ip().is_loopback() && key.is_none() {
            return Err(D::Error::custom(
                "[gateway.admin] listens off loopback, where everybody could read what you sell to whom; set key to where a key is \
                 kept, such as \"env:ADMIN_KEY\", or listen on 127.0.0.1",
            ));
        }
        Ok(Self { listen, key })
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4021))
}
