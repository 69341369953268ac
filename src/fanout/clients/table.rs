//! The table of clients. Owns their ids; an id stays harmless after its client is gone.

use crate::fanout::ClientId;
use crate::fanout::clients::client::Client;

/// Clients by id, in slots that are reused under another generation.
#[derive(Default)]
pub(crate) struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    client: Option<Box<Client>>,
}

impl Clients {
    /// Adds the client that `make` makes for its new id.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ClientId) -> Client) -> ClientId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("clients are bounded far below 4 billion")
        });
        let slot = &mut self.slots[index as usize];
        let id = ClientId { index, generation: slot.generation };
        slot.client = Some(Box::new(make(id)));
        id
    }

    /// The client, if it still exists.
    pub(crate) fn find(&mut self, id: ClientId) -> Option<&mut Client> {
        let slot = self.slots.get_mut(id.index())?;
        slot.client.as_deref_mut().filter(|client| client.id == id)
    }

    /// As [`Self::find`], read-only.
    pub(crate) fn peek(&self, id: ClientId) -> Option<&Client> {
        let slot = self.slots.get(id.index())?;
        slot.client.as_deref().filter(|client| client.id == id)
    }

    /// The client at an index that an interest names.
    pub(crate) fn at(&mut self, index: u32) -> &mut Client {
        let client = self.slots[index as usize].client.as_deref_mut();
        client.expect("interests end before their client does")
    }

    /// Takes the client out. Its id is invalid from now on.
    pub(crate) fn remove(&mut self, id: ClientId) -> Option<Box<Client>> {
        self.find(id)?;
        let slot = &mut self.slots[id.index()];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        slot.client.take()
    }

    /// The ids of all clients.
    pub(crate) fn ids(&self) -> Vec<ClientId> {
        self.slots.iter().filter_map(|slot| slot.client.as_ref()).map(|client| client.id).collect()
    }

    /// Number of clients.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns whether there are no clients.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
