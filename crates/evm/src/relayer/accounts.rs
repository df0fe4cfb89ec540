//! What is known of the sending accounts: which are this node's, and what they hold.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use farthing_core::network::Network;
use metrics::gauge;
use tokio::time::Instant;

use super::locked;

/// How often the balances are asked for.
const ASK_EVERY: Duration = Duration::from_mins(1);
const WEI_PER_GWEI: u64 = 1_000_000_000;

/// Why no account of this node can send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// None is this node's.
    #[error("no sending account on {network} is this node's ({accounts} configured): it has not started, or other nodes send")]
    Standby {
        /// Where.
        network: Network,
        /// How many there are.
        accounts: usize,
    },
    /// None can pay for gas.
    #[error("no sending account of this node on {network} can pay for gas; send some of the network's coin to {account}")]
    Broke {
        /// Where.
        network: Network,
        /// One of them.
        account: Address,
    },
}

/// The sending accounts of one chain.
pub(super) struct Accounts {
    network: Network,
    low_gwei: Option<u64>,
    state: Mutex<State>,
}

struct State {
    accounts: Vec<Account>,
    asked: Option<Instant>,
}

struct Account {
    address: Address,
    held: bool,
    balance_wei: Option<U256>,
    low: bool,
    /// What it could not pay for, in wei.
    short: Option<U256>,
}

impl Accounts {
    pub(super) fn new(network: Network, addresses: &[Address], low_gwei: Option<u64>) -> Self {
        let account =
            |address: &Address| Account { address: *address, held: false, balance_wei: None, low: false, short: None };
        let state = State { accounts: addresses.iter().map(account).collect(), asked: None };
        Self { network, low_gwei, state: Mutex::new(state) }
    }

    /// Whether the caller should ask for the balances; then others need not for a while.
    pub(super) fn should_ask(&self) -> bool {
        let mut state = self.state();
        let due = state.asked.is_none_or(|asked| asked.elapsed() >= ASK_EVERY);
        if due {
            state.asked = Some(Instant::now());
        }
        due
    }

    /// Takes over what an account holds.
    pub(super) fn learn(&self, lane: usize, balance_wei: U256) {
        let mut state = self.state();
        let Some(account) = state.accounts.get_mut(lane) else { return };
        account.short = account.short.filter(|needed_wei| balance_wei < *needed_wei);
        account.balance_wei = Some(balance_wei);
        let held_gwei = u64::try_from(balance_wei / U256::from(WEI_PER_GWEI)).unwrap_or(u64::MAX);
        let was_low = std::mem::replace(&mut account.low, self.low_gwei.is_some_and(|low_gwei| held_gwei < low_gwei));
        if account.low && !was_low {
            tracing::warn!(network = %self.network, account = %account.address, balance_gwei = held_gwei, "a sending account is running low");
        }
        let labels = [("chain", self.network.to_string()), ("signer", account.address.to_string())];
        gauge!("farthing_signer_balance_gwei", &labels).set(u32_share(held_gwei));
    }

    /// How much gas at this price a lane can still pay for, beside what it has under way; no limit where another lane
    /// could not do better.
    pub(super) fn affordable_units(&self, lane: usize, price_wei: u128, under_way_wei: u128) -> u64 {
        let state = self.state();
        let nobody_else = !state.accounts.iter().enumerate().any(|(other, it)| other != lane && it.held && it.short.is_none());
        let balance_wei = state.accounts.get(lane).and_then(|account| account.balance_wei);
        let Some(balance_wei) = balance_wei.filter(|_| !nobody_else) else { return u64::MAX };
        let free_wei = balance_wei.saturating_sub(U256::from(under_way_wei));
        u64::try_from(free_wei / U256::from(price_wei.max(1))).unwrap_or(u64::MAX)
    }

    /// The lane can't pay for what it should send: others do while they can. `true` if that is new.
    pub(super) fn short(&self, lane: usize, needed_wei: u128) -> bool {
        let mut state = self.state();
        let Some(account) = state.accounts.get_mut(lane) else { return false };
        let is_new = account.short.replace(U256::from(needed_wei)).is_none();
        if is_new {
            tracing::warn!(network = %self.network, account = %account.address, "a sending account can't pay for gas; it rests until it can");
        }
        is_new
    }

    /// Whether the lane can't pay so much, beside nothing else.
    pub(super) fn lacks(&self, lane: usize, needed_wei: u128) -> bool {
        let state = self.state();
        let balance_wei = state.accounts.get(lane).and_then(|account| account.balance_wei);
        balance_wei.is_some_and(|balance_wei| balance_wei < U256::from(needed_wei))
    }

    pub(super) fn is_short(&self, lane: usize) -> bool {
        self.state().accounts.get(lane).is_some_and(|account| account.short.is_some())
    }

    /// Whether the lane is this node's.
    pub(super) fn hold(&self, lane: usize, held: bool) {
        if let Some(account) = self.state().accounts.get_mut(lane) {
            account.held = held;
            account.short = None;
        }
    }

    pub(super) fn held(&self) -> usize {
        self.state().accounts.iter().filter(|account| account.held).count()
    }

    pub(super) fn is_any_held(&self) -> bool {
        self.held() > 0
    }

    pub(super) fn ready(&self) -> Result<(), NotReady> {
        let state = self.state();
        let mut held = state.accounts.iter().filter(|account| account.held).peekable();
        let Some(first) = held.peek() else {
            return Err(NotReady::Standby { network: self.network.clone(), accounts: state.accounts.len() });
        };
        let account = first.address;
        if held.all(|account| account.short.is_some() || account.balance_wei == Some(U256::ZERO)) {
            return Err(NotReady::Broke { network: self.network.clone(), account });
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// A gauge holds a float, which holds 32 bits exactly; more is shown as the most.
fn u32_share(value: u64) -> f64 {
    u32::try_from(value).unwrap_or(u32::MAX).into()
}
