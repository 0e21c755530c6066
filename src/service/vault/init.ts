import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errno, errnoName } from '../../base/errno.js';
import { Failure } from '../../base/failure.js';
import { freshId, type ScopeId, type VolumeId } from '../../base/ids.js';
import { ScopeKeys } from '../../crypto/scope-keys.js';
import type { ScryptCost } from '../../crypto/stretch.js';
import { defaultSuite, type SuiteName, suites } from '../../crypto/suites.js';
import { rootRecord } from '../../filesystem/scopes/scope-creation.js';
import { XATTR, XATTR_ROOT } from '../../format/names/binding.js';
import {
  encodeVolumeRecord,
  incompatible,
  isChunkSize,
  volumeRecordHash,
} from '../../format/volume/volume-record.js';
import { Seal } from '../../keyring/seal.js';
import { ScopeSecrets } from '../../keyring/slots/scope-secrets.js';
import { checkGiven } from '../../keyring/slots/slot-kinds.js';
import { Slots } from '../../keyring/slots/slots.js';
import { StoreKey } from '../../keyring/store-key.js';
import { close, fgetxattr, fsetxattr, open, openPath } from '../../libc/files.js';
import { type SecretInput, SecretMemory } from '../../libc/memory.js';
import type { SlotType } from '../../store/rows.js';
import { Store } from '../../store/store.js';
import { composed } from '../secrets/composer.js';
import { ChildKem } from '../secrets/kem.js';
import { syncDirectory, vaultPaths } from './vault.js';

/** User xattrs are where names are bound and directories described: a backing without them can't be a vault. */
function checkXattrs(directory: string): void {
  const fd = openPath(directory, open.O_RDONLY | open.O_DIRECTORY);
  if (fd < 0) throw new Failure('io', `${directory} cannot be opened (${errnoName(-fd)})`);
  const value = randomBytes(144);
  const done = fsetxattr(fd, XATTR, value);
  const found = Buffer.alloc(1024);
  const length = done < 0 ? done : fgetxattr(fd, XATTR, found);
  close(fd);
  if (length === value.length && value.equals(found.subarray(0, length))) return;
  const why = length < 0 && -length !== errno.EOPNOTSUPP ? ` (${errnoName(-length)})` : '';
  throw new Failure(
    'unsupported_system',
    `the filesystem of ${directory} does not keep extended attributes${why}`,
    {
      reason: 'xattrs_missing',
    },
  );
}

export interface InitOptions {
  readonly vault: string;
  readonly input: SecretInput;
  readonly slot: SlotType;
  /** age: `input` as an age file for its recipients, in base64. */
  readonly sealed?: string | undefined;
  /** Where not given: what fits the processor. */
  readonly suite?: SuiteName;
  readonly chunkSize: number;
  readonly store: string | undefined;
  /** scrypt cost of a passphrase slot; tests alone make it cheap. */
  readonly cost?: ScryptCost;
}

/** Makes a vault with a root scope. All or nothing: what it made is removed again where it fails. */
export async function initVault(
  options: InitOptions,
): Promise<{ volume: VolumeId; root: ScopeId; path: string }> {
  checkGiven(options.slot, options.input, options.sealed);
  if (!isChunkSize(options.chunkSize)) {
    throw new Failure('usage', `not a chunk size: ${options.chunkSize} bytes`, {
      reason: 'chunk_size_form',
    });
  }
  const vault = resolve(options.vault);
  const existed = existsSync(vault);
  if (existed) {
    if (!statSync(vault).isDirectory()) throw new Failure('conflict', `${vault} is not a directory`);
    if (readdirSync(vault).length > 0) {
      const isVault = existsSync(vaultPaths(vault).record);
      throw new Failure('conflict', `${vault} is ${isVault ? 'a vault already' : 'not empty'}`, {
        reason: 'vault_directory_taken',
      });
    }
  } else if (!existsSync(dirname(vault))) {
    throw new Failure('not_found', `${dirname(vault)} does not exist`);
  }
  const store = options.store === undefined ? undefined : resolve(options.store);
  const paths = vaultPaths(vault, store);
  if (existsSync(paths.store)) {
    throw new Failure('conflict', `${paths.store} exists already`, {
      reason: 'store_exists',
    });
  }
  try {
    return { ...(await make(options, vault, paths)), path: vault };
  } catch (error) {
    for (const path of [
      paths.record,
      paths.store,
      `${paths.store}-wal`,
      `${paths.store}-shm`,
      `${paths.store}-reserve`,
    ]) {
      rmSync(path, { force: true });
    }
    rmSync(paths.tree, { recursive: true, force: true });
    if (!existed) rmSync(vault, { recursive: true, force: true });
    throw error;
  }
}

async function make(
  options: InitOptions,
  vault: string,
  paths: ReturnType<typeof vaultPaths>,
): Promise<{ volume: VolumeId; root: ScopeId }> {
  const memory = new SecretMemory(64);
  const suite = suites[options.suite ?? defaultSuite()].make(memory);
  const volume = freshId<VolumeId>();
  const root = freshId<ScopeId>();
  mkdirSync(vault, { recursive: true, mode: 0o700 });
  // A directory that was there keeps its mode: inside, everybody owns their backing files.
  chmodSync(vault, 0o700);
  // The tree's mode is the mount's; the vault's own keeps everybody else out.
  mkdirSync(paths.tree, { mode: 0o755 });
  checkXattrs(paths.tree);
  const record = encodeVolumeRecord({
    volume,
    suite: suite.id,
    chunkSize: options.chunkSize,
    compatible: 0,
    incompatible: incompatible.DRAFT,
  });
  const seal = new Seal(suite, memory);
  const slots = new Slots(seal, new ChildKem(memory), composed, options.cost);
  const secrets = new ScopeSecrets(seal, slots, volumeRecordHash(record));
  const secret = secrets.fresh();
  const storeKey = StoreKey.create(seal, volume);
  const created = Math.floor(Date.now() / 1000);
  const row = { parent: undefined, path: storeKey.sealPath(root, ''), created };
  const context = { volume, scope: root };
  const { input, sealed } = options;
  const first = { type: options.slot, input, facts: { sealed } };
  const rows = await secrets.create(context, row, first, secret);
  const umask = process.umask(0o077);
  const store = Store.create(paths.store);
  process.umask(umask);
  await store.commit(() => {
    store.setVolume(volume);
    store.setMeta('store_key', storeKey.wrap(root, secret));
    store.addScope(rows);
    const who = { uid: process.getuid?.() ?? 0, pid: process.pid };
    const note = storeKey.sealNote(root, JSON.stringify({ command: 'init', detail: options.slot }));
    const entry = { event: 'create', result: 'ok', scope: root, slot: 0, ...who } as const;
    store.audit.append(Date.now(), { ...entry, note, noteKey: storeKey.generation });
  });
  store.close();
  storeKey.close();
  const keys = new ScopeKeys(suite, memory, root, 1, [secret]);
  const tree = openPath(paths.tree, open.O_RDONLY | open.O_DIRECTORY);
  const done = fsetxattr(tree, XATTR_ROOT, rootRecord(keys));
  close(tree);
  keys.close();
  if (done < 0) throw new Failure('io', `${paths.tree}: ${errnoName(-done)}`);
  syncDirectory(paths.tree);
  // Last: a vault without its record is not one, so a crash before leaves nothing that looks like a vault.
  writeFileSync(paths.record, record, { mode: 0o600, flag: 'wx', flush: true });
  syncDirectory(vault);
  return { volume, root };
}
