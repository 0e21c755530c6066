import type { AeadSuite } from '../crypto/aead.js';
import type { StoreKey } from '../keyring/store-key.js';
import type { SecretMemory } from '../libc/memory.js';
import type { Store } from '../store/store.js';
import type { VaultInfo } from './vault.js';

/** What whoever changes or names slots needs of a mounted vault. */
export interface SlotServices {
  readonly vault: VaultInfo;
  readonly store: Store;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  /** Replaced when the root scope begins a new epoch. */
  storeKey: StoreKey;
}
