//! What every engine must do: a list of tests that take a [`DataPlace`] to keep data at, run once per engine.
//!
//! An engine is a `DataPlace` and a line at the end of this file.
//!
//! | file | asks |
//! |---|---|
//! | [`writes`] | one write path: atomic, unique, published, logged |
//! | [`isolation`] | two tenants never see each other's rows |
//! | [`lists`] | pages by filter and order: what was asked for, by index |
//! | [`one_time`] | used once, however many try |
//! | [`secret_cycle`] | add, update, delete, recover, purge; what a purge leaves behind |
//! | [`audit_chain`] | the chain, the spool before it, and a database that goes away |
//! | [`attacks`] | the audit's trail and its anchor under the hands of who can write the database or its folder |
//! | [`spool`] | the audit's spool under the hands of who can write its folder |
//! | [`pruning`] | what retention removes, and what it leaves |
//! | [`tampering`] | rows that somebody else wrote: refused at start, and not served meanwhile |
//! | [`rollback`] | all rows and their head put back as they were: at rest, and under a running server |
//! | [`replicas`] | several servers over one database; asked of PostgreSQL only |
//! | [`durability`] | several servers, and a commit that is visible before it is durable; asked of PostgreSQL only |
//! | [`histories`] | several servers, and a database that took another way; asked of PostgreSQL only |
//! | [`schema`] | views, triggers and changed tables: at rest, and under a running server |
//! | [`survival`] | restarts, crashes, other processes, newer schemas |

mod attacks;
mod audit_chain;
mod durability;
pub(super) mod fixtures;
mod histories;
mod isolation;
mod lists;
mod one_time;
mod postgres;
mod pruning;
mod replicas;
mod rollback;
mod schema;
mod secret_cycle;
mod spool;
mod sqlite;
mod survival;
mod tampering;
mod writes;

use std::time::Duration;

use super::*;

/// Somewhere to keep data, as a test needs it, and what an intruder says to it.
///
/// SQL that both engines understand stands in the tests. It may use `side.…`, where an intruder keeps what is not the
/// server's, `unhex('00')` and `zeroblob(32)`. What only one engine understands is said by its place.
pub(super) trait DataPlace: Send + Sync {
    /// The data as it was at a moment.
    type Backup;

    /// Whether what a purge removed is overwritten soon, and not before it is answered.
    const IS_OVERWRITTEN_LATER: bool = false;
    /// A running server notices a changed schema within this time.
    const NOTICED_WITHIN: Duration;
    /// True once in about forty times that it is asked.
    const NOW_AND_THEN: &str;
    /// Sets back the number by which a changed schema is told; empty where there is none.
    const NUMBER_SET_BACK: &str = "";

    /// Empty and new.
    fn new() -> Self;
    /// How to open it.
    fn engine(&self) -> Engine;
    /// Runs statements past the store, as an intruder, an accident or an older release would.
    async fn sql(&self, text: &'static str);
    /// What a machine that lost power now finds, at the worst, when it starts again: what was committed.
    fn after_a_power_cut(&self) -> Self;
    /// What is found after this process was killed now: what was written.
    fn after_a_kill(&self) -> Self;

    /// The data as it is, which nobody uses.
    fn backup(&self) -> Self::Backup;
    /// Puts it back as it was.
    fn put_back(&self, backup: &Self::Backup);
    /// Removes all data.
    fn remove_data(&self);
    /// Puts something without content where the data was.
    fn put_nothing(&self);
    /// Whether there is no data.
    async fn is_empty(&self) -> bool;
    /// All data, to be compared.
    async fn content(&self) -> Vec<u8>;
    /// Takes over what an intruder keeps at another place.
    async fn take_side(&self, from: &Self);
    /// In how many places a text is found that the store was given, wherever the engine promises to keep none of what was
    /// purged.
    async fn copies_of(&self, what: &str) -> usize;
    /// How much room the data takes, bytes.
    async fn size(&self) -> u64;
    /// What whoever keeps the database runs now and then.
    async fn tidy(&self);

    /// Makes a table ignore `INSERT`, `UPDATE` or `DELETE`, and say that it was done.
    fn ignoring(name: &str, act: &str, table: &str) -> String;
    /// Gives a table another name, and leaves those that refer to it as they are.
    fn renamed(table: &str, to: &str) -> String;
    /// Changes of the schema that only this engine knows, and what is said of them at start.
    fn other_schemas() -> Vec<(&'static str, &'static str, SchemaFault)>;
    /// Changes of the schema under a running server.
    fn attacks_on_a_running_server() -> Vec<Attack>;
    /// Statements after each other that put values of another type into rows, and what is said of them at start.
    fn values_of_other_types() -> Vec<(&'static [&'static str], &'static str)>;
    /// The same for the last row of the audit, number 6.
    fn ends_of_other_types() -> &'static [&'static str];

    /// One more, empty and new.
    fn another(&self) -> Self
    where
        Self: Sized,
    {
        Self::new()
    }

    async fn open(&self) -> Store {
        Store::open(self.engine(), crate::store::StoreKeys::of_test()).await.unwrap()
    }
}

/// A change that an intruder makes, and undoes.
pub(super) struct Attack {
    pub(super) change: &'static str,
    pub(super) undo: &'static str,
}

macro_rules! contract_suite {
    ($engine:ident, $place:ty; $($module:ident: $($test:ident)*;)*) => {
        mod $engine {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let place = <$place as crate::store::contract::DataPlace>::new();
                    crate::store::contract::$module::$test(place).await;
                })*
            })*
        }
    };
}

/// The list. One line of it is one test on each engine.
macro_rules! on {
    ($engine:ident, $place:ty) => {
        contract_suite! { $engine, $place;
            writes:
                a_commit_is_seen_by_whoever_asks_next
                a_dropped_transaction_leaves_nothing
                an_error_in_the_middle_leaves_nothing
                what_must_be_unique_is
                names_can_be_given_up_and_taken_again
                a_tenant_that_goes_leaves_nothing_in_the_snapshot
                look_ups_ignore_case_where_azure_does
                the_change_log_says_what_changed_and_no_sealed_byte
                revisions_name_the_last_change
                a_commit_survives_its_caller
                writers_who_wait_commit_together
                who_fails_in_a_group_fails_alone
                what_was_decided_by_a_group_that_failed_is_decided_again
                a_savepoint_that_is_refused_loses_nothing_silently
                what_a_newer_release_wrote_stays
                the_snapshot_equals_what_is_loaded_after_a_thousand_changes;
            isolation:
                d34_a_record_of_another_tenant_is_refused
                d34_tenants_never_see_each_others_rows
                d34_a_row_moved_to_another_tenant_is_not_served;
            lists:
                what_clients_ask_for_is_found
                both_readings_of_a_filter_agree
                many_of_one_name_are_each_listed_once
                a_place_is_good_for_its_own_list_only
                what_has_no_field_is_refused_by_name
                the_members_of_a_group_lie_together;
            one_time:
                d10_a_token_is_used_once
                d28_of_thirty_two_who_race_one_gets_the_token
                what_is_renewed_stays_one_row_and_is_renewed_once
                what_has_ended_is_forgotten_some_at_a_time_the_longest_ended_first;
            secret_cycle:
                versions_come_newest_first_and_the_last_is_the_latest
                names_are_kept_as_written_and_found_in_any_case
                pages_follow_each_other
                an_update_changes_metadata_only
                delete_recover_purge
                a_purge_leaves_no_copy_of_the_sealed_bytes
                a_vault_with_secrets_cannot_go;
            audit_chain:
                every_write_is_recorded_with_its_actor
                an_edited_row_is_found
                a_removed_row_is_found
                a_forged_end_is_found
                an_edited_position_swallows_nothing
                nobody_waits_and_many_share_a_commit
                a_row_holds_one_tenants_records
                a_database_that_goes_away_loses_no_record
                a_database_that_hangs_leaves_the_spool_on_the_disk
                a_batch_whose_commit_ended_in_doubt_is_written_once
                a_full_disk_refuses
                a_full_spool_refuses
                closing_moves_what_waits;
            attacks:
                a_cut_tail_is_refused_and_can_be_accepted
                a_removed_trail_is_refused_and_can_be_accepted
                a_rewritten_chain_is_refused
                a_record_rewritten_with_all_hashes_after_it_is_found
                rows_that_changed_places_are_found
                a_last_record_that_was_edited_is_refused_at_start
                a_last_row_with_impossible_numbers_is_refused_and_can_be_accepted
                another_root_key_accepts_nothing
                what_would_still_be_refused_is_not_said_to_be_accepted
                verifying_says_what_was_accepted_and_when
                an_export_has_no_row_that_somebody_else_wrote
                an_old_database_is_refused_and_can_be_accepted
                a_removed_database_is_refused
                a_cut_change_log_decides_nothing
                an_anchor_that_is_not_the_one_written_is_refused
                an_anchor_removed_under_a_running_server_is_written_anew
                a_trail_removed_under_a_running_server_refuses_writes_and_says_why
                a_trail_added_to_under_a_running_server_refuses_writes_and_says_why
                an_end_forged_while_it_is_read_again_is_refused
                an_honest_crash_leaves_the_anchor_behind
                a_head_kept_elsewhere_is_in_the_trail_or_not
                a_trail_is_read_beside_its_server
                nothing_wrong_is_nothing_to_accept;
            spool:
                what_is_missing_of_the_spool_is_recorded
                what_is_put_into_the_spool_is_not_shipped
                what_is_no_spool_is_refused
                a_spool_removed_under_a_running_server_is_begun_anew
                a_spool_replaced_under_a_running_server_refuses;
            pruning:
                old_records_go_and_the_rest_is_verified
                the_size_stays_bounded
                what_the_snapshot_is_loaded_by_stays
                a_pruned_front_that_is_forged_is_found
                what_somebody_put_beside_the_trail_takes_no_share_of_it
                records_that_were_given_up_go_when_their_time_comes;
            tampering:
                a_row_that_was_edited_is_refused_at_start
                the_first_wrong_row_of_many_pages_is_named
                a_body_that_names_another_is_refused_at_start
                a_row_that_was_added_is_refused_at_start
                a_row_that_was_rolled_back_is_refused_at_start
                a_row_that_was_removed_is_refused_at_start
                a_row_whose_columns_are_of_other_types_is_refused_at_start
                a_row_that_was_purged_and_put_back_is_refused_at_start
                a_head_that_is_not_of_these_rows_is_refused_at_start
                names_that_the_applications_do_not_say_are_refused_at_start
                the_change_log_decides_nothing
                another_root_key_opens_nothing
                a_secret_that_was_changed_under_a_running_server_is_not_served
                a_record_that_was_changed_under_a_running_server_is_not_written_over
                a_used_token_stays_used_under_a_running_server
                a_head_that_was_changed_under_a_running_server_stops_writes
                a_name_that_was_freed_under_a_running_server_is_not_given_again
                readers_beside_writers_see_no_alarm
                the_sum_in_memory_is_that_of_a_fresh_load;
            rollback:
                rows_of_another_time_than_the_trail_are_refused
                rows_of_another_time_are_not_adopted_by_a_running_server
                a_commit_in_doubt_adopts_nothing_else;
            schema:
                another_schema_is_refused_at_start
                another_schema_is_not_used_by_a_running_server
                rows_that_were_not_asked_for_are_refused
                what_was_not_written_is_not_acknowledged
                a_purge_that_misses_a_version_is_refused
                what_an_edit_made_expire_is_not_forgotten;
            survival:
                a_restart_finds_everything
                a_power_cut_loses_no_acknowledged_write
                a_kill_loses_no_record
                the_data_belongs_to_one_process
                a_lease_is_taken_renewed_and_ends
                newer_data_is_refused
                data_of_another_build_is_refused_with_what_to_do
                a_database_that_is_ahead_is_loaded_again
                a_write_of_unknown_outcome_is_looked_up
                reading_the_snapshot_asks_the_database_nothing;
        }
    };
}

on!(on_sqlite, crate::store::contract::sqlite::File);
on!(on_postgres, crate::store::contract::postgres::Database);
