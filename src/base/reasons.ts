/**
 * Why something failed, where its code alone does not tell what to do next: one row a reason, with what its advice names
 * (null: nothing). The advice itself is at the top: control/advice.ts has a text for each row, or does not compile.
 */
export interface Reasons {
  // Forms that people write
  duration_form: null;
  window_form: null;
  time_zone_form: null;
  amount_form: null;
  budget_form: null;
  budget_without_limit: null;
  caller_form: null;
  chunk_size_form: null;
  label_is_number: null;
  moment_over: null;

  // The system
  kernel_too_old: null;
  openssl_missing: null;
  secret_memory_full: null;
  sqlite_for_other_node: null;
  device_missing: null;
  device_without_module: null;
  device_forbidden: null;
  device_not_permitted: null;
  libfuse_missing: null;
  binding_missing: null;
  binding_unloadable: null;

  // Vault and metadata store
  vault_missing: { vault: string };
  vault_without_record: { vault: string };
  vault_in_use: { vault: string };
  vault_directory_taken: null;
  vault_by_draft: null;
  made_by_newer: null;
  record_foreign: null;
  record_damaged: null;
  record_edited: null;
  xattrs_missing: null;
  store_missing: null;
  store_exists: null;
  store_unreadable: null;
  store_full: null;
  store_unsynced: null;
  store_by_draft: null;
  store_of_other_vault: null;
  store_older: null;

  // Mounting and the daemon
  mount_point_missing: { path: string };
  mount_dead: { path: string };
  mount_present: { path: string };
  mount_absent: null;
  mount_detached: null;
  mount_in_use: null;
  mount_held: null;
  mount_read_only: null;
  mount_use_unknown: { readonly path: string };
  argument_not_utf8: null;
  mount_not_permitted: null;
  mount_refused: null;
  mount_without_root: null;
  ready_fd_form: null;
  transport_unknown: { transports: readonly string[] };
  transport_without_option: null;
  transport_without_callers: null;
  start_failed: { log: string };
  host_form: null;
  socket_path_too_long: null;
  socket_path_taken: null;
  daemon_absent: null;
  daemon_gone: null;
  daemon_refuses: null;
  daemon_late: null;
  daemon_of_other_version: null;
  daemon_of_other_mount: null;
  daemons_several: { mounts: readonly string[] };
  caller_without_grant: null;

  // Scopes
  scope_locked: { scope: string };
  scope_locked_meanwhile: null;
  scope_for_some_callers: null;
  scope_read_only: null;
  scope_unknown: null;
  scope_present: null;
  scope_is_root: null;
  scope_directory_missing: null;
  scope_directory_not_empty: null;
  scope_in_use: null;
  scope_keys_full: null;
  shred_of_root: null;
  shred_unsaid: { scope: string };
  shred_unconfirmed: { path: string };
  shred_misnamed: { path: string };
  shred_above_scopes: null;

  // Leases
  lease_unknown: null;
  leases_full: null;
  lease_terms_differ: null;
  lease_end_misdirected: { verb: 'renew' | 'shorten' };
  process_unknown: null;
  process_elsewhere: null;
  process_is_thread: null;
  cgroup_unknown: null;
  unit_unknown: null;
  end_form: null;

  // Slots
  slot_unknown: null;
  slot_of_locked_scope: null;
  slot_kind_unknown: { kinds: readonly string[] };
  slot_label_taken: null;
  slots_full: null;
  slot_last: null;
  slot_last_recovery: null;
  slot_last_unbounded: null;
  slot_ended: null;
  slot_wrap_damaged: null;
  slot_unlisted: null;
  slot_unvouched: null;
  slot_list_replaced: null;
  slot_window_closed: { opens: string };
  slot_root_without_parent: null;
  slot_not_for_init: null;
  recovery_bounded: null;
  recovery_missing: null;
  epoch_beginning: null;
  epochs_full: null;

  // Keys
  key_unfit: { scope: string };
  key_unfit_for_root: null;
  keys_throttled: { seconds: number };
  keyfile_length: null;
  recovery_form: null;
  recovery_needs_terminal: null;
  recovery_mistyped: null;
  made_secret_length: null;
  made_secret_given: null;
  sealed_by_age_alone: null;
  age_file_form: null;
  age_recipients_only: null;
  age_identity_unfit: null;

  // Shares
  share_misspelt: null;
  share_unknown: null;
  share_replaced: null;
  share_terms_differ: null;
  share_without_share: null;
  shares_pending: null;
  typed_too_long: null;
  shares_of_other_kind: null;
  auto_of_other_kind: null;
  shares_unnamed: null;
  shares_not_renewed: null;
  shares_and_json: null;
  shares_lost: null;
  share_file_unwritten: null;
  share_file_taken: null;

  // Sources of secrets
  source_unnamed: null;
  source_of_new_unnamed: null;
  source_form: { sources: string };
  source_without_terminal: null;
  credential_form: null;
  credential_outside_service: null;
  command_form: null;
  command_failed: null;

  // Other verbs
  audit_count_form: { most: number };
  exec_form: null;
  lock_without_scopes: null;
  size_form: null;
  suite_unknown: { suites: readonly string[] };
  verb_without_json: { verbs: readonly string[] };
}

export type Reason = keyof Reasons;

/** A reason as a failure carries it: its name, or its name with what its advice names. */
export type GivenReason = {
  [R in Reason]: Reasons[R] extends null ? R : Readonly<{ name: R } & Reasons[R]>;
}[Reason];
