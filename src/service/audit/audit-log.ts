import type { Log } from '../../base/log.js';
import type { Peer } from '../../control/service.js';
import type { CurrentStoreKey } from '../../keyring/store-key.js';
import { commandOf } from '../../libc/processes.js';
import { systemClock } from '../../libc/system.js';
import type { AuditEntry, AuditRow } from '../../store/audit.js';
import type { Store } from '../../store/store.js';

/** What of an audit row is sealed. */
export interface AuditTexts {
  readonly command?: string;
  readonly purpose?: string;
  readonly detail?: string;
}
export type AuditedEvent = Omit<AuditEntry, 'note' | 'noteKey'> & Omit<AuditTexts, 'command'>;

/** The audit with its texts, which are sealed under the store key of now. */
export class AuditLog {
  readonly #store: Store;
  readonly #storeKey: CurrentStoreKey;
  readonly #log: Log | undefined;

  /** `log`: of a mount whose store is a copy. It has no names and no texts, as it may outlive the lock. */
  constructor(store: Store, storeKey: CurrentStoreKey, log?: Log) {
    this.#log = log;
    this.#store = store;
    this.#storeKey = storeKey;
  }

  /** One row, durable when this resolves. @throws where it can't be written: then what it is about must not happen. */
  write(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    return this.#store.commit(() => this.record(entry, peer));
  }
  /** One row, as a part of a commit. */
  record(entry: AuditedEvent, peer: Peer | undefined): void {
    const { purpose, detail, ...facts } = entry;
    const storeKey = this.#storeKey.get();
    const command = peer === undefined ? undefined : commandOf(peer.pid);
    // Before the root scope's first unlock there is no key for texts.
    const note = storeKey?.sealNote(entry.scope, JSON.stringify({ command, purpose, detail }));
    const who = peer === undefined ? {} : { uid: peer.uid, pid: peer.pid };
    this.#log?.info('audit', { ...who, ...facts });
    this.#store.audit.append(systemClock.wall(), { ...who, ...facts, note, noteKey: storeKey?.generation });
  }
  /** The last rows with their texts, the oldest first. */
  tail(count: number): (AuditRow & AuditTexts)[] {
    return this.#store.audit.tail(count).map((row) => {
      const { note, noteKey, scope } = row;
      const text =
        note === undefined || noteKey === undefined
          ? undefined
          : this.#storeKey.get()?.openNote(scope, noteKey, note);
      return { ...row, ...(text === undefined ? {} : (JSON.parse(text) as AuditTexts)) };
    });
  }
}
