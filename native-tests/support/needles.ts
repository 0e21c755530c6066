import { join } from 'node:path';
import { unsafe } from '@noble/ciphers/aes.js';
import { idBytes, type VolumeId } from '../../src/base/ids.js';
import { derive } from '../../src/crypto/kdf.js';
import { ScopeKeys } from '../../src/crypto/scope-keys.js';
import { openHeaderPair } from '../../src/format/file/file-header.js';
import { HEADER_REGION } from '../../src/format/file/geometry.js';
import { ScopeSecrets } from '../../src/keyring/slots/scope-secrets.js';
import { Slots } from '../../src/keyring/slots/slots.js';
import { input, memory, reveal, seal, suite, TestKem } from '../../src/keyring/test-keyring.js';
import { copyMemory, pinned, type Secret } from '../../src/libc/memory.js';
import { composed } from '../../src/service/secrets/composer.js';
import { readVault } from '../../src/service/vault/vault.js';
import { Store } from '../../src/store/store.js';
import type { Vault } from './mounted.js';
import { vaultObjects } from './vault-files.js';

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

/** What an AES-256 context holds of a key besides the key: round keys 2 to 5 (FIPS 197, 5.2). */
function roundKeys(key: Buffer): Buffer {
  const expanded = unsafe.expandKeyLE(Uint8Array.from(key));
  return Buffer.from(expanded.buffer, expanded.byteOffset + 32, 64);
}

/** What the daemon must not have: computed here from the vault's files and the key. */
export async function needlesOf(vault: Vault, key: Buffer): Promise<Record<string, Buffer>> {
  const info = readVault(vault.vault);
  const store = Store.open(join(vault.vault, 'store.sqlite'));
  const scope = store.scopes()[1]?.id;
  const rows = scope === undefined ? undefined : store.secretsOf(scope);
  store.close();
  if (scope === undefined || rows === undefined) throw new Error('no scope');
  const kem = new WatchingKem();
  const secrets = new ScopeSecrets(seal, new Slots(seal, kem, composed), info.recordHash);
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
    needles[`xattr key ${i + 1}`] = derived(secret, 'scopefs/1/xattr', id, 32);
    needles[`binding key ${i + 1}`] = derived(secret, 'scopefs/1/binding', id, 32);
    for (const name of ['name', 'header'] as const) {
      needles[`round keys of ${name} key ${i + 1}`] = roundKeys(needles[`${name} key ${i + 1}`] as Buffer);
    }
  });
  const keys = new ScopeKeys(suite, memory, scope, opened.oldest, opened.secrets);
  const headerContext = { scope, suite: suite.id, chunkSize: info.record.chunkSize };
  let files = 0;
  for (const { kind, bytes } of vaultObjects(join(vault.vault, 'tree'))) {
    if (kind !== 'file' || bytes.length <= HEADER_REGION) continue;
    const pair = openHeaderPair((epoch) => keys.at(epoch)?.header, headerContext, bytes, 0);
    if (pair.state === 'bad') continue;
    const { epoch, fileId } = pair.header;
    const secret = keys.at(epoch)?.file(fileId)?.secret as Secret;
    const key = Buffer.from(reveal(secret), 'hex').subarray(0, 32);
    needles[`file key ${++files}`] = Buffer.from(key);
    needles[`round keys of file key ${files}`] = roundKeys(key);
    secret.wipe();
  }
  keys.close();
  return needles;
}
