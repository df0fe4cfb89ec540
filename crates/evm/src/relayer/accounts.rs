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

    /// Whether this account is this node's; without one, whether any is.
    pub(super) fn is_held(&self, wanted: Option<Address>) -> bool {
        let state = self.state();
        state.accounts.iter().any(|account| account.held && wanted.is_none_or(|wanted| account.address == wanted))
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

#[cfg(test)]
mod tests {
    use super::*;

    const GWEI: u64 = 1_000_000_000;

    fn accounts() -> Accounts {
        let addresses = [Address::repeat_byte(1), Address::repeat_byte(2)];
        let accounts = Accounts::new("eip155:84532".parse().unwrap(), &addresses, Some(100));
        accounts.hold(0, true);
        accounts.hold(1, true);
        accounts
    }

    fn is_low(accounts: &Accounts, lane: usize) -> bool {
        accounts.state().accounts[lane].low
    }

    #[test]
    fn an_account_is_low_below_the_operators_line_and_not_on_it() {
        let accounts = accounts();
        accounts.learn(0, U256::from(100 * GWEI));
        assert!(!is_low(&accounts, 0));
        accounts.learn(0, U256::from(100 * GWEI - 1));
        assert!(is_low(&accounts, 0) && !is_low(&accounts, 1));
        accounts.learn(0, U256::from(100 * GWEI));
        assert!(!is_low(&accounts, 0));
    }

    #[test]
    fn a_short_account_rests_until_it_has_what_it_lacked() {
        let accounts = accounts();
        accounts.learn(0, U256::from(5));
        assert!(accounts.lacks(0, 6) && !accounts.lacks(0, 5) && !accounts.lacks(1, 6), "what is not known is not lacking");
        assert!(accounts.short(0, 6) && !accounts.short(0, 6), "said once");
        accounts.learn(0, U256::from(5));
        assert!(accounts.is_short(0));
        accounts.learn(0, U256::from(6));
        assert!(!accounts.is_short(0));
    }

    #[test]
    fn a_lane_takes_what_it_can_pay_for_beside_what_is_under_way() {
        let accounts = accounts();
        assert_eq!(accounts.affordable_units(0, 10, 0), u64::MAX, "its balance is not known");
        accounts.learn(0, U256::from(1_000));
        assert_eq!(accounts.affordable_units(0, 10, 0), 100);
        assert_eq!(accounts.affordable_units(0, 10, 305), 69);
        assert_eq!(accounts.affordable_units(0, 10, 2_000), 0);
        assert_eq!(accounts.affordable_units(0, 0, 0), 1_000);
        accounts.short(1, 1);
        assert_eq!(accounts.affordable_units(0, 10, 305), u64::MAX, "nobody else could do better");
    }

    #[test]
    fn who_has_no_money_for_gas_is_not_ready() {
        let accounts = accounts();
        assert!(accounts.ready().is_ok());
        accounts.learn(0, U256::ZERO);
        assert!(accounts.ready().is_ok(), "the other one may have some");
        accounts.short(1, 1);
        assert!(matches!(accounts.ready(), Err(NotReady::Broke { .. })));
        accounts.hold(0, false);
        accounts.hold(1, false);
        assert!(matches!(accounts.ready(), Err(NotReady::Standby { accounts: 2, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn balances_are_asked_for_once_in_a_while() {
        let accounts = accounts();
        assert!(accounts.should_ask() && !accounts.should_ask());
        tokio::time::advance(ASK_EVERY).await;
        assert!(accounts.should_ask() && !accounts.should_ask());
    }
}
