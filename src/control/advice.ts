import type { Failure, FailureCode } from '../base/failure.js';
import type { Reason, Reasons } from '../base/reasons.js';

/**
 * What to do next, for the person at the terminal: the one place where failures get their advice. The HTTP edge applies it
 * to what it answers, the command line to what fails in its own process.
 */

const SHARES_ANEW = 'make them anew: scopefs slot rotate SCOPE SLOT --new share:file:PATH';

const byCode = {
  internal: "this is a bug: report it with the daemon's log",
  io: "check the disk and the daemon's log, then try again",
  no_space: 'make room, then try again: nothing was changed',
  not_root: 'run it with sudo',
  unsupported_system: 'see README.md, what scopefs needs',
  unsupported_format: 'use the scopefs that made the vault, or a newer one',
  not_a_vault: 'make one with: scopefs init VAULT',
  bad_mount_point: 'name an empty directory outside the vault',
  usage: 'see: scopefs help',
  locked: 'unlock it first: scopefs unlock SCOPE --with SRC',
  not_found: 'list what there is with: scopefs ls',
  bad_key: 'check which key you gave; scopefs slot list shows what kinds there are',
  input_required: 'name a secret with --with SRC; see: scopefs help unlock',
  forbidden: 'run it as the user who mounted the vault, or as root',
  busy: 'try again in a moment',
  conflict: 'look at what is there first: scopefs ls',
  integrity:
    'restore what is damaged from a backup of vault and store; scopefs audit tail says what was seen',
  unreachable: 'is the vault mounted? name its socket with --host unix:///PATH',
  pending: 'bring another share: scopefs unlock SCOPE --with share:SRC',
  throttled: 'wait, then try again',
  too_large: 'a secret has at most 4096 bytes',
} as const satisfies Record<FailureCode, string>;

type Advice<R extends Reason> = Reasons[R] extends null ? string : (named: Reasons[R]) => string;

const byReason = {
  // Forms that people write
  duration_form: 'write a whole number and a unit: 30s, 15m, 2h or 1d, at most 3650d',
  window_form: 'write for example at:02:00,for:15m,days:mon-fri+sun,zone:Europe/Berlin,uses:1',
  time_zone_form: 'name one of the IANA database: Europe/Berlin, UTC',
  amount_form: 'write a whole number, with K, M, G or T for powers of 1024: bytes:500M',
  budget_form: 'write for example bytes:500M,files:20,per:hour,over:deny',
  budget_without_limit: 'for example bytes:500M',
  caller_form:
    'write any, or some of uid:N gid:N tree:PID tree:self cgroup:/PATH unit:NAME with commas between',
  chunk_size_form: 'a power of two from 4K to 1M',
  label_is_number: 'numbers name slots already',
  moment_over: 'name a moment that is still to come',

  // The system
  kernel_too_old:
    'Debian 13, Ubuntu 24.04.1 with its HWE kernel, Fedora 39 and Debian 12 with backports have it',
  openssl_missing:
    'install OpenSSL 3 (apt-get install libssl3), or use the node binary from nodejs.org or Debian',
  secret_memory_full: 'try again when fewer scopes are being unlocked',
  sqlite_for_other_node:
    'it was built for another Node, or not at all: rebuild it in the directory of scopefs with: npm rebuild better-sqlite3',
  device_missing: 'load the module with: modprobe fuse (in a container: --device /dev/fuse)',
  device_without_module: 'load the module with: modprobe fuse',
  device_forbidden: 'mount as root',
  device_not_permitted: 'in a container: --device /dev/fuse --cap-add SYS_ADMIN',
  libfuse_missing: 'apt-get install libfuse2 (libfuse2t64 in newer releases), or use --transport kernel',
  binding_missing: 'npm install fuse-native, or use --transport kernel, which needs no package',
  binding_unloadable: 'use --transport kernel, which needs no package',

  // Vault and metadata store
  vault_missing: ({ vault }) => `create a vault there with: scopefs init ${vault} --with prompt`,
  vault_without_record: ({ vault }) => `create one with: scopefs init ${vault} --with prompt`,
  vault_in_use: ({ vault }) => `unmount it first with: scopefs unmount ${vault}`,
  vault_directory_taken: 'name a directory that is empty or does not exist',
  vault_by_draft: 'copy the data out with the build that made it',
  made_by_newer: 'use a newer scopefs',
  record_foreign: 'create a vault with: scopefs init VAULT --with SRC',
  record_damaged: 'restore the file VAULT/volume from a backup: it never changes after init',
  record_edited: 'restore VAULT/volume from a backup',
  xattrs_missing: 'put the vault on ext4, XFS or Btrfs, mounted with user_xattr',
  store_missing: 'name it with --store PATH, or restore it from a backup of the vault',
  store_exists: 'name another file with --store',
  store_unreadable: 'restore it from a backup of the vault',
  store_full: 'nothing was changed: make room and try again',
  store_unsynced:
    'whether the change lasts is unknown: keep the old and the new secrets, check the disk, then restart the daemon',
  store_by_draft: 'drafts are not migrated: copy the data out with the build that made it',
  store_of_other_vault: 'name the right one with --store PATH',
  store_older:
    "restore the newer store; after a restore on purpose remove the file +slots in the scope's backing directory",

  // Mounting and the daemon
  mount_point_missing: ({ path }) => `make it with: mkdir -p ${path}`,
  mount_dead: ({ path }) => `remove it first with: umount -l ${path}`,
  mount_present: ({ path }) => `unmount it first with: scopefs unmount ${path}`,
  mount_detached: 'unmount it by the path of its vault, then mount it again: scopefs unmount VAULT',
  mount_absent: 'see what is mounted with: findmnt -t fuse.scopefs',
  mount_in_use: 'end those processes, or lock everything now with: scopefs lock -a',
  mount_read_only: 'unmount it and mount it again without --ro',
  mount_held: 'end what holds it, as said above; or lock everything now with: scopefs lock -a',
  mount_use_unknown: ({ path }) =>
    `see what the kernel knows with: fuser -vm ${path}; lock everything now with: scopefs lock -a`,
  argument_not_utf8: 'reach it by another path, for example a symbolic link',
  mount_not_permitted: 'mounting needs root (CAP_SYS_ADMIN)',
  mount_refused: 'see the kernel log: dmesg',
  ready_fd_form: 'open one for it: scopefs mount ... --ready-fd 3 3>PIPE',
  mount_without_root: 'run it with sudo, or from a systemd unit',
  transport_unknown: ({ transports }) => `use one of: ${transports.join(', ')}`,
  transport_without_option: 'use --transport kernel',
  transport_without_callers: 'mount with --transport kernel',
  start_failed: ({ log }) => `the daemon's log is ${log}`,
  host_form: 'write unix:///PATH of a socket, or the path of a mount point or vault',
  socket_path_too_long: 'name a shorter path with --host',
  socket_path_taken: 'name another one with --host',
  daemon_absent: 'mount one: scopefs mount VAULT MOUNT --with SRC',
  daemon_gone: 'mount the vault first: scopefs mount VAULT MOUNT --with SRC',
  daemon_refuses: 'are you root?',
  daemon_late: 'give it more time with --timeout',
  daemon_of_other_mount: 'leave --host and SCOPEFS_HOST out: the right one is found by the path',
  daemon_of_other_version: 'unmount and mount again with this version',
  daemons_several: ({ mounts }) => mounts.map((path) => `--host ${path}`).join(' or '),
  caller_without_grant: 'ask as root',

  // Scopes
  scope_locked: ({ scope }) => `unlock it first: scopefs unlock ${scope} --with SRC`,
  scope_locked_meanwhile: 'unlock it again',
  scope_for_some_callers: 'lock it, and unlock it for any',
  scope_read_only: 'lock it, and unlock it without --ro',
  scope_unknown: 'list them with: scopefs ls',
  scope_present: 'open it with: scopefs unlock SCOPE --with SRC',
  scope_is_root: 'name a path below the mount: scopefs create users/alice',
  scope_directory_missing: 'make the directories above a scope with mkdir on the mount',
  scope_in_use:
    'wait for who uses it (--wait 30s), or lock without --fail-if-busy: that cuts off what is open',
  scope_directory_not_empty: 'create the scope at a new path and move the files into it with cp and rm',
  scope_keys_full: 'lock scopes that nobody needs, or close files',
  shred_of_root: 'unmount it and remove the vault directory and the metadata store',
  shred_unsaid: ({ scope }) => `scopefs rm ${scope} --shred --yes=${scope}`,
  shred_unconfirmed: ({ path }) => `repeat its path: --yes=${path.slice(1)}`,
  shred_misnamed: ({ path }) => `repeat it: --yes=${path.slice(1)}`,
  shred_above_scopes: 'destroy these first',

  // Leases
  lease_unknown: 'it may have ended: scopefs lease list shows those there are',
  leases_full: 'end some: scopefs lease list, scopefs lease revoke',
  lease_terms_differ: 'ask for the same, or wait until its leases have ended: scopefs lease list',
  lease_end_misdirected: ({ verb }) => `use scopefs lease ${verb}`,
  process_unknown: 'it may have ended: see ps',
  process_elsewhere: 'write self for the caller, or name a process of its own pid namespace',
  process_is_thread: 'name the process',
  cgroup_unknown: 'write its path as in /proc/PID/cgroup, behind 0::',
  unit_unknown:
    'start it first; its processes are in /system.slice/NAME or another slice: systemctl status NAME',
  end_form: 'write 18:30, or 2026-12-24T18:30:00Z',

  // Slots
  slot_unknown: 'list them with: scopefs slot list SCOPE',
  slot_of_locked_scope: 'its slots can be changed while it is unlocked: name a key with --with SRC',
  slot_kind_unknown: ({ kinds }) => `use ${kinds.join(', ')}`,
  slot_label_taken: 'choose another label; see: scopefs slot list SCOPE',
  slots_full: 'remove one that nobody uses: scopefs slot rm SCOPE SLOT',
  slot_last: 'add another first: scopefs slot add',
  slot_last_recovery: 'add another recovery slot first: scopefs slot add --slot recovery',
  slot_last_unbounded: 'add another without them first: scopefs slot add',
  slot_ended: 'open the scope with another slot, and remove this one: scopefs slot rm',
  slot_wrap_damaged: 'open the scope with another slot, then make this one anew: scopefs slot rotate',
  slot_unlisted: 'open the scope with another slot, then remove this one',
  slot_unvouched: 'remove it first: scopefs slot rm SCOPE SLOT',
  slot_list_replaced: 'restore the metadata store from a backup that is as new as the vault',
  slot_window_closed: ({ opens }) => `its window opens again at ${opens}`,
  slot_root_without_parent: 'choose another kind of slot',
  slot_not_for_init:
    'begin with a passphrase or key file, mount it, then add those: scopefs slot add / --slot recovery --new prompt',
  recovery_bounded: 'give those to slots of other types',
  recovery_missing: 'add that first: scopefs slot add SCOPE --slot recovery --new prompt',
  epoch_beginning: 'try again',
  epochs_full: 'move its files to a new scope',

  // Keys
  key_unfit: ({ scope }) => `see its slots with: scopefs slot list ${scope}`,
  key_unfit_for_root:
    'name the key or passphrase that the vault was made with, or its recovery text: --with SRC',
  keys_throttled: ({ seconds }) => `wait ${seconds} s`,
  keyfile_length: 'make one with: head -c 32 /dev/urandom > key',
  recovery_form: 'scopefs makes one: scopefs slot add SCOPE --slot recovery --new prompt',
  recovery_needs_terminal: 'run it on a terminal, or bring a key of 64 letters along: --new file:PATH',
  recovery_mistyped: 'nothing was changed: begin again for a new one',
  made_secret_length: 'scopefs makes it: scopefs slot add SCOPE --new age:FILE, parent or share:file:PATH',
  made_secret_given: 'name where its shares go: --new share:file:PATH',
  sealed_by_age_alone: 'scopefs slot add SCOPE --new age:FILE makes one',
  age_file_form: 'make one with age-keygen; identities protected by a passphrase are not supported',
  age_recipients_only: 'to open a scope name the file of the identity: AGE-SECRET-KEY-...',
  age_identity_unfit: 'see the slots with: scopefs slot list SCOPE',

  // Shares
  share_misspelt: 'compare it with the original, letter by letter',
  share_unknown: 'it may be of another scope, of a slot that was removed, or older than its last rotation',
  share_replaced:
    'if nobody of yours has the later one it was stolen: open with the recovery key, then scopefs slot rotate',
  share_terms_differ: 'ask for the same, or lock the scope: then they are forgotten',
  share_without_share: 'scopefs slot renew SCOPE --with share:- --new share:file:PATH',
  shares_pending: 'give more of them, a line each',
  typed_too_long: 'put a long one into a file: --with file:PATH --slot passphrase',
  shares_of_other_kind: 'use --slot threshold',
  auto_of_other_kind: 'only a parent slot has --auto: --new parent',
  shares_unnamed:
    'name both: scopefs slot add SCOPE --slot threshold --shares 5 --threshold 3 --new share:file:PATH',
  shares_not_renewed: SHARES_ANEW,
  shares_and_json: 'name another place: share:file:PATH or share:fd:N',
  shares_lost: SHARES_ANEW,
  share_file_unwritten: 'the share in that file still opens the scope: make room, then try again',
  share_file_taken: 'name a file that does not exist yet: share:file:PATH',

  // Sources of secrets
  source_unnamed:
    'name its source: --with prompt, file:PATH, fd:N, cred:NAME, unix:PATH, age:FILE, share:SRC, cmd:/PROGRAM, parent or -',
  source_of_new_unnamed: 'name its source: --new prompt, --new file:PATH, --new fd:N or --new -',
  source_form: ({ sources }) => `it is ${sources}; never the secret itself`,
  source_without_terminal: 'name another source: --with file:PATH, --with fd:N or --with -',
  credential_form: 'write cred:NAME, as in LoadCredential=NAME:PATH',
  credential_outside_service: 'add LoadCredential=NAME:PATH to the unit',
  command_form: 'name it by its path, without arguments: cmd:/usr/local/bin/fetch-key',
  command_failed: 'run it by hand to see what it says',

  // Other verbs
  audit_count_form: ({ most }) => `1 to ${most}`,
  exec_form: 'scopefs exec users/alice --with file:key -- ls -l /mnt/data/users/alice',
  lock_without_scopes: 'scopefs ls lists them',
  size_form: 'write 4K, 16K or 1M',
  suite_unknown: ({ suites }) => `use ${suites.join(' or ')}`,
  verb_without_json: ({ verbs }) => `there are: ${verbs.join(', ')}`,
} as const satisfies { [R in Reason]: Advice<R> };

/** A failure's reason tells more than its code; what another daemon answered has its advice with it. */
export function adviceOf({ code, reason, hint }: Failure): string {
  if (hint !== undefined) return hint;
  if (reason === undefined) return byCode[code];
  const given = typeof reason === 'string' ? { name: reason } : reason;
  // Name and what the advice names belong together (GivenReason); indexing loses that.
  const advice = byReason[given.name] as string | ((named: unknown) => string);
  return typeof advice === 'string' ? advice : advice(given);
}
