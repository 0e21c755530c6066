import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { idBytes, type VolumeId } from '../../src/base/ids.js';
import { derive } from '../../src/crypto/kdf.js';
import { readVault } from '../../src/daemon/vault.js';
import { ScopeSecrets } from '../../src/keyring/scope-secrets.js';
import { Slots } from '../../src/keyring/slots.js';
import { input, memory, reveal, suite, TestKem } from '../../src/keyring/test-keyring.js';
import { copyMemory, pinned, type Secret } from '../../src/libc/memory.js';
import { Store } from '../../src/store/store.js';
import { scan } from '../support/memory-scan.js';
import { Vault } from '../support/mounted.js';

/** Remembers the private halves that were opened with it. */
class WatchingKem extends TestKem {
  readonly privateHalves: Buffer[] = [];
  override decapsulate(privateHalf: Secret, ciphertext: Buffer): Promise<Secret> {
    this.privateHalves.push(Buffer.from(reveal(privateHalf), 'hex'));
    return super.decapsulate(privateHalf, ciphertext);
  }
}

function derived(
  secret: Secret,
  label: Parameters<typeof derive>[1],
  context: Buffer,
  length: number,
): Buffer {
  const out = memory.allocate(64);
  derive(secret, label, context, out.address);
  const bytes = pinned(64);
  copyMemory(bytes.address, out.address, 64);
  out.wipe();
  return Buffer.from(bytes.bytes.subarray(0, length));
}

/** What the daemon must not have: computed here from the vault's files and the key. */
async function needlesOf(vault: Vault, key: Buffer): Promise<Record<string, Buffer>> {
  const info = readVault(vault.vault);
  const store = Store.open(join(vault.vault, 'store.sqlite'));
  const scope = store.scopes()[1]?.id;
  const rows = scope === undefined ? undefined : store.secretsOf(scope);
  store.close();
  if (scope === undefined || rows === undefined) throw new Error('no scope');
  const kem = new WatchingKem();
  const secrets = new ScopeSecrets(suite, memory, new Slots(suite, memory, kem), info.recordHash);
  const context = { volume: info.record.volume as VolumeId, scope };
  // Without the symmetric form the key pair is needed.
  const wraps = rows.wraps.map((wrap) => ({ ...wrap, rewrap: undefined }));
  const opened = await secrets.open(context, { ...rows, wraps }, input(Buffer.from(key)));
  if (opened === undefined) throw new Error('the key opens nothing');
  const needles: Record<string, Buffer> = {
    'slot secret': key,
    'private half': kem.privateHalves[0] as Buffer,
  };
  opened.secrets.forEach((secret, i) => {
    const id = idBytes(scope);
    needles[`epoch secret ${i + 1}`] = Buffer.from(reveal(secret), 'hex');
    needles[`name key ${i + 1}`] = derived(secret, 'scopefs/1/name', id, 32);
    needles[`header key ${i + 1}`] = derived(secret, 'scopefs/1/header', id, 32);
    needles[`binding key ${i + 1}`] = derived(secret, 'scopefs/1/binding', id, 32);
  });
  return needles;
}

test('no key of a scope is in the memory of the daemon after a lock, nor secrets in ordinary memory before', async (t) => {
  const vault = new Vault();
  t.teardown(() => vault.remove());
  vault.createScope('a');
  const key = randomBytes(48);
  const path = join(vault.directory, 'mine');
  writeFileSync(path, key, { mode: 0o600 });
  const cli = (...args: string[]) => vault.expect(vault.cli(...args), args.join(' '));
  cli('slot', 'add', 'a', '--new', `file:${path}`, '--label', 'mine');
  writeFileSync(vault.path('a/file'), randomBytes(100_000));
  // A new epoch: this slot then opens it by its key pair, once.
  cli('slot', 'rm', 'a', '0');
  cli('lock', 'a');
  cli('unlock', 'a', '--with', `file:${path}`);
  writeFileSync(vault.path('a/other'), randomBytes(100_000));
  readFileSync(vault.path('a/file'));
  cli('slot', 'test', 'a', '--with', `file:${path}`);

  const needles = await needlesOf(vault, key);
  const names = Object.keys(needles);
  t.equal(names.length, 10, 'two epochs');
  const list = Object.values(needles);
  const before = scan(vault.pid, list);
  names.forEach((name, i) => {
    if (/^name key/.test(name)) {
      t.ok((before[i] as number) > 0, `positive control: ${name} is in a live EVP context (${before[i]})`);
    } else {
      t.equal(before[i], 0, `${name}: in secret memory alone while unlocked`);
    }
  });
  cli('lock', 'a');
  const after = scan(vault.pid, list);
  names.forEach((name, i) => {
    t.equal(after[i], 0, `${name}: ${before[i]} copies before, ${after[i]} after`);
  });
});
