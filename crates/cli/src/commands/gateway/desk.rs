//! What the gateway has to know of who comes: fetched from where the file says that it is kept.

use std::sync::Arc;

use anyhow::Context;
use farthing::core::books::{MemoryPasses, MemoryQuotas};
use farthing::secret::SecretRef;
use farthing::store::Store;
use farthing::system::SystemClock;
use farthing_gateway::file::Reference;
use farthing_gateway::{Desk, DeskMaterials};
use zeroize::Zeroizing;

use super::wiring::header_value;
use crate::config::NodeUrl;
use crate::config::gateway::Config;

/// Fetches keys, lists and secrets, and puts them together. Nobody is asked anything. Without a book for who only looks: then
/// nothing may be served.
pub fn of(config: &Config, store: Option<&Store>) -> anyhow::Result<Desk> {
    let settings = &config.gateway;
    let mut materials = DeskMaterials {
        clock: Some(Arc::new(SystemClock)),
        quotas: Some(store.map_or_else(|| Arc::new(MemoryQuotas::default()) as Arc<_>, Store::quotas)),
        passes: Some(store.map_or_else(|| Arc::new(MemoryPasses::default()) as Arc<_>, Store::passes)),
        ..DeskMaterials::default()
    };
    if let Some(keys) = &settings.keys {
        materials.key_file = text(keys.file.as_ref(), "gateway.keys.file")?;
    }
    if let Some(tokens) = &settings.tokens {
        materials.token_secret = fetched(tokens.secret.as_ref(), "gateway.tokens.secret")?;
        materials.key_set = text(tokens.key_set.as_ref(), "gateway.tokens.key_set")?;
    }
    if let Some(screening) = &settings.screening {
        materials.screening_list = text(screening.list.as_ref(), "gateway.screening.list")?;
        if let Some(place) = &screening.url {
            let url: Result<NodeUrl, _> = place.as_str().parse();
            let expected = "gateway.screening.url: expected a URL, https://…, or where it is kept, env:NAME or file:PATH";
            let url = url.ok().context(expected)?.resolve().context("gateway.screening.url")?;
            materials.screening_url = Some(url.to_string());
        }
        if let Some(place) = &screening.authorization {
            let mut value = header_value(place.as_str()).context("gateway.screening.authorization")?;
            value.set_sensitive(true);
            materials.screening_authorization = Some(value);
        }
    }
    Desk::new(settings, &materials).context("gateway")
}

fn fetched(place: Option<&Reference>, name: &'static str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let Some(place) = place else { return Ok(None) };
    Ok(Some(place.as_str().parse::<SecretRef>().context(name)?.resolve().context(name)?))
}

/// What is no secret.
fn text(place: Option<&Reference>, name: &'static str) -> anyhow::Result<Option<String>> {
    Ok(fetched(place, name)?.map(|text| text.to_string()))
}
