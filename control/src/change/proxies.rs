//! What operators say of proxies.

use serde_json::json;

use crate::{
    observe::ProxyState,
    refusal::Refusal,
    store::{KnownProxy, Write},
};

/// Takes a listed proxy out of the fleet, until it answers again.
pub fn forget(write: &mut Write<'_>, known: &KnownProxy, state: ProxyState) -> Result<(), Refusal> {
    if state == ProxyState::Reachable {
        return Err(Refusal::ProxyAnswers(known.name.clone()));
    }
    if known.is_forgotten {
        return Ok(());
    }
    write.put_proxy(&KnownProxy {
        is_forgotten: true,
        ..known.clone()
    })?;
    let detail = json!({ "generation": known.generation, "seen_ms": known.seen_ms });
    write.note("proxy.forget", &known.name, &detail)?;
    Ok(())
}
