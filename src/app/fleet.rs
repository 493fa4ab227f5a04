//! The membership of a sidecar in a fleet that shares a budget: made of the settings, where these
//! name a store.

use tokio::sync::mpsc;

use super::{hot, values};
use crate::{
    fleet::{FleetEvent, MemberOptions},
    refresh::{FleetSender, Refresh},
    settings::Settings,
    store::{KeyNames, SidecarId},
    valkey::{Valkey, ValkeyOptions},
};

/// What the refresh tells the fleet by; nothing without a store.
pub(super) fn channel(
    settings: &Settings,
) -> (
    Option<FleetSender>,
    Option<mpsc::UnboundedReceiver<FleetEvent>>,
) {
    match settings.store.url {
        Some(_) => {
            let (sender, events) = mpsc::unbounded_channel();
            (Some(sender), Some(events))
        }
        None => (None, None),
    }
}

/// Joins the fleet, if there is a store.
pub(super) fn start(
    settings: &Settings,
    refresh: &Refresh,
    events: mpsc::UnboundedReceiver<FleetEvent>,
) -> Option<Valkey> {
    let store = &settings.store;
    let address = store.url.clone()?;
    let budget = values::budget(settings)?;
    let names = KeyNames::new(&store.namespace, &settings.component)
        .expect("BUG: names were checked with the settings");
    let options = ValkeyOptions {
        host: address.host,
        port: address.port,
        username: store.username.clone(),
        password_file: store.password_file.as_ref().map(Into::into),
        timeout: store.timeout,
        names,
        member: MemberOptions {
            id: id(&hot::host_name()),
            forget: store.forget,
            ttl: store.ttl,
            seed: fastrand::u64(..),
        },
    };
    let fleet = Valkey::start(options, budget, refresh.clone(), events);
    refresh.set_fleet(fleet.state().borrow().mode);
    Some(fleet)
}

/// The name of this life of the sidecar in the store: that of its host, and what differs between
/// two lives.
fn id(host: &str) -> SidecarId {
    let accepted = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let host: String = host.chars().filter(accepted).take(64).collect();
    let id = format!("{host}~{:08x}", fastrand::u32(..));
    SidecarId::new(&id).expect("BUG: only accepted characters are in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_name_of_the_host_and_differs() {
        let (one, other) = (id("api-7d9f\n"), id("api-7d9f\n"));
        assert!(one.as_str().starts_with("api-7d9f~"), "{one}");
        assert_ne!(one, other);
        assert!(id("").as_str().starts_with('~'));
    }
}
