//! Sees to it that hooks hear of a payment that was let in and bought nothing, even where its request is just dropped.

use farthing_core::wire::SettleResponse;
use tokio::runtime::Handle;
use tracing::Instrument;

use super::{CancelReason, Cancellation, HookContext, HookList};

/// One admitted payment. Dropped, it was canceled by a caller who left.
pub(crate) struct Watch(Option<Box<Watched>>);

struct Watched {
    hooks: HookList,
    context: HookContext,
    settled: Option<SettleResponse>,
    runtime: Handle,
}

impl Watch {
    /// Must be called inside a tokio runtime. `None` where nobody would hear.
    pub(crate) fn new(
        hooks: &HookList,
        context: impl FnOnce() -> HookContext,
        settled: Option<&SettleResponse>,
    ) -> Option<Self> {
        let watched =
            || Watched { hooks: hooks.clone(), context: context(), settled: settled.cloned(), runtime: Handle::current() };
        (!hooks.is_empty()).then(|| Self(Some(Box::new(watched()))))
    }

    /// The payment goes on to its settlement, of which hooks hear by themselves.
    pub(crate) fn ends(mut self) {
        self.0 = None;
    }

    /// The payment was canceled. Hooks go on although nobody waits for them any more.
    pub(crate) async fn canceled(mut self, reason: CancelReason, status: Option<u16>) {
        if let Some(told) = self.0.take().map(|watched| watched.tell(reason, status)) {
            // Whatever a hook does is caught and logged where it is asked.
            drop(told.await);
        }
    }
}

impl Watched {
    fn tell(self, reason: CancelReason, status: Option<u16>) -> tokio::task::JoinHandle<()> {
        let Self { hooks, context, settled, runtime } = self;
        let telling = async move { hooks.canceled(&context, &Cancellation { reason, status, settled }).await };
        runtime.spawn(telling.in_current_span())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watched) = self.0.take() {
            // The task goes on by itself.
            drop(watched.tell(CancelReason::HandlerThrew, None));
        }
    }
}
