import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { freshId, type LeaseId, type ScopeId } from '../../src/base/ids.js';
import { PLAIN } from '../../src/keyring/leases/leases.js';
import { ScopeSecrets } from '../../src/keyring/slots/scope-secrets.js';
import { Slots } from '../../src/keyring/slots/slots.js';
import { StoreKey } from '../../src/keyring/store-key.js';
import { kem, seal } from '../../src/keyring/test-keyring.js';
import { umask } from '../../src/libc/system.js';
import { composed } from '../../src/service/secrets/composer.js';
import { readVault, vaultPaths } from '../../src/service/vault/vault.js';
import { Store } from '../../src/store/store.js';
import { CoreRunner } from '../../src/worker/core-runner.js';
import { IoExecutor } from '../../src/worker/io-executor.js';
import type { CommandMessage, Results, WorkerMessage } from '../../src/worker/messages.js';
import { inputOf } from './key-input.js';
import type { Vault } from './mounted.js';

/** A scope below the root, with one key-file slot. */
export interface NewScope {
  readonly name: string;
  readonly key: Buffer;
}

/**
 * Adds scopes to an unmounted vault: rows and directories, as the daemon makes them, but in this process, as each costs
 * the daemon a child process. They are locked then. `made`: how many there are so far.
 */
export async function populate(
  vault: Vault,
  scopes: readonly NewScope[],
  made: (count: number) => void = () => {},
): Promise<void> {
  const info = readVault(vault.vault);
  const store = Store.open(vaultPaths(info.path).store);
  const volume = info.record.volume;
  const secrets = new ScopeSecrets(seal, new Slots(seal, kem, composed), info.recordHash);
  const rootRow = store.scopes()[0];
  if (rootRow === undefined) throw new Error('no root scope');
  const rows = store.secretsOf(rootRow.id);
  if (rows === undefined) throw new Error('no root rows');
  const rootKey = inputOf(readFileSync(vault.keyFile));
  const opened = await secrets.open({ volume, scope: rootRow.id }, rows, rootKey);
  rootKey.wipe();
  const rootSecret = opened?.secrets[0];
  if (rootSecret === undefined) throw new Error('the root does not open');
  const sealed = store.meta('store_key');
  const storeKey = StoreKey.unwrap(
    seal,
    { volume, scope: rootRow.id },
    { epoch: 1, secret: rootSecret },
    sealed as Buffer,
  );
  const answers = new Map<number, (answer: Results[keyof Results]) => void>();
  const done = (_: unknown, then: (result: number) => void): void => then(0);
  const host = new CoreRunner(
    {
      tree: vaultPaths(info.path).tree,
      chunkSize: info.record.chunkSize,
      suite: info.suite,
      unclean: false,
      readOnly: false,
      writeback: false,
      session: randomBytes(16),
      uncleanSessions: [],
      scopes: [{ id: rootRow.id, parent: undefined, path: '' }],
    },
    {
      cache: {
        flush: done,
        dropPages: done,
        dropNames: done,
        forgetAttributes: () => {},
        dropRange: (_node, _offset, _length, then) => then(),
        prune: (_, then) => then(),
      },
      executor: (backing) => new IoExecutor(backing, { several: false, more: () => {} }),
      tell: (message: WorkerMessage) => {
        if (message.kind === 'answer') answers.get(message.id)?.(message.answer);
      },
      wiped: () => {},
      statistics: () => ({ requests: 0, longest: { operation: 'none', milliseconds: 0 } }),
      addLine: () => {},
    },
  );
  let next = 1;
  const call = <T>(command: object): Promise<T> =>
    new Promise((resolve) => {
      const id = next++;
      answers.set(id, (answer) => resolve(answer as T));
      host.perform({ ...command, id } as CommandMessage);
    });
  const holder = { uid: 0, pid: process.pid, command: undefined, unit: undefined };
  const terms = { ...PLAIN, purpose: 'populate', holder };
  await call({
    op: 'unlock',
    scope: rootRow.id,
    lease: freshId<LeaseId>(),
    terms,
    oldest: 1,
    secrets: [rootSecret.address],
    stored: { epoch: opened?.epoch, list: opened?.listVersion },
  });
  const rowsOf: { id: ScopeId; rows: Awaited<ReturnType<typeof secrets.create>> }[] = [];
  const mask = umask(0);
  for (const { name, key } of scopes) {
    const id = freshId<ScopeId>();
    const secret = secrets.fresh();
    const row = { parent: rootRow.id, path: storeKey.sealPath(id, name), created: 1 };
    const input = inputOf(key);
    const scopeRows = await secrets.create({ volume, scope: id }, row, { type: 'keyfile', input }, secret);
    input.wipe();
    const { result } = await call<Results['create']>({
      op: 'create',
      names: [name],
      scope: id,
      epoch: 1,
      secret: secret.address,
      owner: { uid: 0, gid: 0, mode: 0o700 },
      lease: freshId<LeaseId>(),
      terms,
    });
    if (!result.ok) throw new Error(`create ${name}: ${result.errno}`);
    secret.wipe();
    await call({ op: 'lock', scopes: [id], reason: 'populate', limit: 10_000 });
    rowsOf.push({ id, rows: scopeRows });
    made(rowsOf.length);
  }
  umask(mask);
  await store.commit(() => {
    for (const { rows: scopeRows } of rowsOf) store.addScope(scopeRows);
  });
  await new Promise<void>((resolve) => host.end(resolve));
  store.close();
}
