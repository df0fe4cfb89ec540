//! The tests that every implementation of core's books must pass: one file per book, one [`Harness`] per implementation.

pub mod debts;
pub mod deliveries;
pub mod durability;
pub mod lanes;
pub mod ledger;
pub mod listing;
pub mod outbox;
pub mod passes;
pub mod purchases;
pub mod quotas;
pub mod refunds;
pub mod sales;
pub mod sending;
pub mod settlements;
pub mod sign_ins;

pub mod sample;

use std::sync::Arc;

use farthing_core::books::{Debts, Deliveries, Ledger, Outbox, Passes, Quotas, Refunds, Sales, Settlements, SignIns};

/// One process on a book.
pub struct Node {
    pub settlements: Arc<dyn Settlements>,
    pub outbox: Arc<dyn Outbox>,
    pub deliveries: Arc<dyn Deliveries>,
    pub sales: Arc<dyn Sales>,
    pub refunds: Arc<dyn Refunds>,
    pub ledger: Arc<dyn Ledger>,
    pub sign_ins: Arc<dyn SignIns>,
    pub quotas: Arc<dyn Quotas>,
    pub passes: Arc<dyn Passes>,
    pub debts: Arc<dyn Debts>,
    /// How the harness knows it.
    pub number: u64,
}

/// A fresh book, and the processes on it.
pub trait Harness: Send + Sync {
    /// Whether several nodes can be alive at once.
    const REPLICAS: bool;

    /// An empty book.
    async fn new() -> Self;

    /// One more process. Without replicas the one before must have been killed.
    async fn node(&self) -> Node;

    /// The process dies at once, and is known to be dead.
    async fn kill(&self, node: Node);

    /// The others take the node for dead, although it goes on. Only with replicas.
    async fn give_up_on(&self, node: &Node);
}

/// Names every test of the contract for one harness.
macro_rules! contract {
    ($harness:ty) => {
        crate::contract::contract! { $harness:
            settlements: a_payment_is_found_once_it_is_sent
                settled_is_taken_over_from_every_state dead_changes_only_what_is_being_sent
                what_was_never_sent_is_not_made_up every_field_survives_the_book
                what_was_found_belongs_to_the_first_request what_was_found_may_be_dead_and_not_under_way
                one_of_a_thousand_findings_wins who_judged_one_transaction_says_nothing_of_the_next
                settled_again_by_the_same_transaction_changes_nothing what_nobody_follows_is_to_be_checked_until_it_is_final
                what_was_refused_is_to_be_checked_when_it_has_expired a_settlement_that_vanished_is_open_again
                what_the_outbox_follows_is_not_undone_by_others closed_leaves_to_be_checked_what_did_not_land,
            sending: one_bad_payment_and_nothing_is_written a_dead_payment_may_be_sent_again
                the_same_write_again_changes_nothing another_transaction_with_the_same_sequence_is_an_error
                a_payment_twice_in_one_transaction_is_an_error one_of_a_thousand_copies_wins
                one_of_a_thousand_copies_on_two_nodes_wins budgets_are_exact_under_concurrency
                budgets_are_exact_across_nodes a_budget_is_per_day_and_per_account
                what_was_refused_is_given_back_to_its_budgets what_was_not_refused_is_not_given_back
                a_transaction_without_payments_is_followed_too many_payments_at_once_are_written_together,
            outbox: a_replacement_takes_over_the_payments refused_frees_the_number_and_the_payments
                refused_changes_nothing_once_replaced_or_landed what_landed_is_told
                what_landed_is_what_its_payments_name a_reorg_reopens_settled_and_dead_payments closed_is_not_followed_any_more
                a_payment_that_was_sent_again_is_left_alone_by_its_first_transaction under_way_is_in_the_order_of_the_sequence
                under_way_is_read_page_by_page who_carries_a_payment_is_told the_last_closed_number_is_told
                under_way_runs_out_with_the_last_of_its_payments,
            lanes: a_lane_is_one_nodes_and_a_new_lease_voids_the_old every_write_under_an_old_lease_is_void
                another_node_takes_over_only_after_death a_node_taken_for_dead_cannot_write_under_its_lease
                a_lane_given_back_is_free_at_once nodes_are_counted nodes_count_where_they_serve,
            deliveries: one_claim_of_a_thousand_wins only_the_same_request_resumes a_served_payment_is_used_up
                cancelled_is_free_again what_a_dead_node_left a_node_taken_for_dead_cannot_write_deliveries_taken_over
                one_claim_of_many_on_two_nodes_wins nobody_advances_what_was_not_claimed one_of_many_resumes
                what_was_served_and_not_delivered_is_resumed_once_its_claim_says_so an_older_claim_writes_nothing
                what_expired_long_ago_is_forgotten_and_nothing_else a_forgotten_claim_writes_nothing
                an_answer_is_given_again_to_its_own_request_until_its_time_is_past an_answer_outlives_the_node_that_made_it
                answers_are_forgotten_before_their_payments answers_that_went_out_are_forgotten_and_no_others who_resumes_hears_the_charge_the_settlement_and_the_answer
                only_what_is_settling_is_charged,
            purchases: one_payment_of_a_thousand_has_a_name a_name_follows_its_payment a_name_is_free_again_with_its_payment
                a_dead_node_keeps_a_name_only_for_what_may_have_been_charged,
            sales: what_is_settling_is_open_and_what_moved_is_sold one_payment_is_one_sale_whatever_is_written_later
                a_sale_outlives_its_delivery every_field_of_a_sale_survives_the_book who_lost_a_claim_sells_nothing
                every_filter_of_sales_matches_what_it_says pages_of_sales_follow_each_other_without_a_gap
                sums_are_exact_and_of_one_asset_each a_sum_that_no_amount_holds_is_an_error sales_survive_a_kill,
            refunds: a_sale_is_paid_back_once_whatever_is_booked one_of_many_refunds_at_once_is_booked
                what_nobody_has_answered_has_not_failed refunds_are_listed_by_sale_state_and_time,
            ledger: limits_hold_among_concurrent_reserves limits_hold_across_handles a_window_forgets
                released_is_free_and_committed_is_not a_resource_is_known_by_its_whole_name_however_long
                a_late_commit_counts_again amounts_are_exact_to_the_last_unit
                what_is_unknown_is_an_error,
            sign_ins: one_use_of_a_nonce_of_a_thousand_wins a_nonce_is_remembered_as_long_as_it_could_be_good
                a_grant_opens_one_resource_to_one_payer a_grant_reaches_as_far_as_the_signature
                a_grant_lasts_until_the_latest_moment_that_was_paid_for names_of_any_length_and_kind_are_kept_apart
                sign_ins_survive_a_kill,
            quotas: a_thousand_requests_at_once_get_exactly_what_the_limit_says a_new_period_begins_anew
                a_clock_that_is_behind_takes_nothing counters_are_kept_apart a_limit_of_nothing_grants_nothing
                what_was_taken_survives_a_kill,
            passes: a_payment_buys_one_pass_however_often_it_is_said
                of_a_thousand_at_once_as_many_spend_as_there_are_credits_for time_is_added_to_what_is_left_of_it
                holders_are_kept_apart_and_survive_a_kill,
            debts: debts_stay_within_the_limit what_is_paid_is_owed_no_more
                concurrent_debts_do_not_pass_the_limit_together debts_survive_a_kill,
            listing: every_filter_matches_what_it_says pages_follow_each_other_without_a_gap replaced_transactions_are_found,
            durability: what_was_answered_is_there_after_a_kill a_killed_nodes_lane_is_taken_with_what_is_under_way,
        }
    };
    ($harness:ty: $($book:ident: $($test:ident)*,)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                crate::contract::$book::$test::<$harness>().await;
            }
        )*)*
    };
}

pub(crate) use contract;
