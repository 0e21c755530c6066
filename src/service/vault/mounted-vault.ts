import { Failure } from '../../base/failure.js';
import type { AeadSuite } from '../../crypto/aead.js';
import type { StoreKey } from '../../keyring/store-key.js';
import type { SecretMemory } from '../../libc/memory.js';
import type { Store } from '../../store/store.js';
import type { VaultInfo } from './vault.js';

/** Secrets at the same time on the main thread: all epochs of some scopes that are being opened, and shares that wait. */
export const SECRETS = 16_384;
/** What whoever changes or names slots needs of a mounted vault. */
export interface SlotServices {
  readonly vault: VaultInfo;
  readonly store: Store;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  /** There from the first unlock of the root scope on; replaced when that begins a new epoch. */
  storeKey: StoreKey | undefined;
}

/** The store key, where something can't be done without it. @throws Failure locked */
export function storeKeyOf({ storeKey }: SlotServices): StoreKey {
  if (storeKey !== undefined) return storeKey;
  throw new Failure(
    'locked',
    'the root scope was not unlocked since the mount: names are sealed until then',
    {
      hint: 'unlock it first: scopefs unlock / --with SRC',
    },
  );
}
