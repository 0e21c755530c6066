import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import type { SlotChangeView, SlotView } from '../control/schemas.js';
import type { Peer } from '../control/service.js';
import type { AeadSuite } from '../crypto/aead.js';
import { encodeSlotCopy } from '../format/slot-copy.js';
import { MOST_SLOTS, peekSlotList } from '../format/slot-list.js';
import { type OpenedScope, ScopeSecrets, type SlotChange } from '../keyring/scope-secrets.js';
import { type SlotContext, Slots } from '../keyring/slots.js';
import { StoreKey } from '../keyring/store-key.js';
import { Throttle } from '../keyring/throttle.js';
import type { Secret, SecretInput, SecretMemory } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import type { AuditEntry, AuditRow } from '../store/audit.js';
import type { EpochRow, ScopeSecretRows, SlotRow, SlotType } from '../store/rows.js';
import type { Store } from '../store/store.js';
import type { CoreClient } from './core-client.js';
import { ChildKem } from './kem.js';
import type { VaultInfo } from './vault.js';

/** What of an audit row is sealed. */
export interface AuditTexts {
  readonly command?: string;
  readonly purpose?: string;
  readonly detail?: string;
}
export type AuditedEvent = Omit<AuditEntry, 'note' | 'noteKey'> & Omit<AuditTexts, 'command'>;

export interface SlotServices {
  readonly vault: VaultInfo;
  readonly store: Store;
  readonly suite: AeadSuite;
  readonly memory: SecretMemory;
  /** Replaced when the root scope begins a new epoch. */
  storeKey: StoreKey;
}

const seconds = (): number => Math.floor(systemClock.wall() / 1000);

/** Slots of the scopes of a mounted vault: who can open what, and every change of that. */
export class ScopeSlots {
  readonly #services: SlotServices;
  readonly #core: CoreClient;
  readonly #slots: Slots;
  readonly #secrets: ScopeSecrets;
  readonly #throttle = new Throttle(systemClock);
  readonly #pathOf: (scope: ScopeId) => string;
  /** The last change or opening under way of each scope: one after another. */
  readonly #turns = new Map<ScopeId, Promise<void>>();

  constructor(services: SlotServices, core: CoreClient, pathOf: (scope: ScopeId) => string) {
    const { suite, memory, vault } = services;
    this.#services = services;
    this.#core = core;
    this.#slots = new Slots(suite, memory, new ChildKem(memory));
    this.#secrets = new ScopeSecrets(suite, memory, this.#slots, vault.recordHash);
    this.#pathOf = pathOf;
  }

  /** Runs `work` when everything before it on this scope is done. */
  inTurn<T>(scope: ScopeId, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(scope) ?? Promise.resolve();
    const done = before.then(work);
    const settled = done.then(
      () => {},
      () => {},
    );
    this.#turns.set(scope, settled);
    return done;
  }

  /** One row, durable when this resolves. @throws where it can't be written: then what it is about must not happen. */
  audit(entry: AuditedEvent, peer: Peer | undefined): Promise<void> {
    return this.#services.store.commit(() => this.record(entry, peer));
  }
  /** One row, as a part of a commit. */
  record(entry: AuditedEvent, peer: Peer | undefined): void {
    const { purpose, detail, ...facts } = entry;
    const { store, storeKey } = this.#services;
    const command = peer === undefined ? undefined : commandOf(peer.pid);
    const note = storeKey.sealNote(entry.scope, JSON.stringify({ command, purpose, detail }));
    const who = peer === undefined ? {} : { uid: peer.uid, pid: peer.pid };
    store.audit.append(systemClock.wall(), { ...who, ...facts, note, noteKey: storeKey.generation });
  }
  /** The last rows with their texts, the oldest first. */
  auditTail(count: number): (AuditRow & AuditTexts)[] {
    return this.#services.store.audit.tail(count).map((row) => {
      const { note, noteKey, scope } = row;
      const text =
        note === undefined || noteKey === undefined
          ? undefined
          : this.#services.storeKey.openNote(scope, noteKey, note);
      return { ...row, ...(text === undefined ? {} : (JSON.parse(text) as AuditTexts)) };
    });
  }

  #context(scope: ScopeId): SlotContext {
    return { volume: this.#services.vault.record.volume, scope };
  }
  #rows(scope: ScopeId): ScopeSecretRows {
    const rows = this.#services.store.secretsOf(scope);
    if (rows === undefined) throw new Failure('not_found', `scope ${scope} is not in the metadata store`);
    return rows;
  }

  /**
   * Rows and secret of a new scope, its path still unsealed: that belongs to {@link addScope}, as the store key may be
   * replaced while a passphrase is stretched. The secret is the caller's to wipe.
   */
  async create(
    scope: ScopeId,
    parent: ScopeId,
    type: SlotType,
    input: SecretInput,
  ): Promise<{ rows: ScopeSecretRows; secret: Secret }> {
    const secret = this.#secrets.fresh();
    const row = { parent, path: Buffer.alloc(0), created: seconds() };
    try {
      const rows = await this.#secrets.create(this.#context(scope), row, type, input, secret);
      return { rows, secret };
    } catch (error) {
      secret.wipe();
      throw error;
    }
  }

  /** Stores a new scope and that it was made: sealed and written in one step, so under the store key of now. */
  addScope(rows: ScopeSecretRows, path: string, peer: Peer): Promise<void> {
    const { id } = rows.scope;
    const { store, storeKey } = this.#services;
    const [slot] = rows.slots;
    return store.commit(() => {
      const detail = slot === undefined ? {} : { slot: slot.number, detail: slot.type };
      this.record({ event: 'create', result: 'ok', scope: id, ...detail }, peer);
      store.addScope({ ...rows, scope: { ...rows.scope, path: storeKey.sealPath(id, path) } });
    });
  }

  /**
   * Opens a scope's secrets with what a caller gave. Wrong keys and damaged rows are audited; the caller audits what
   * becomes of the right one. The secrets are the caller's to wipe. Call it {@link inTurn}.
   */
  async open(
    scope: ScopeId,
    input: SecretInput,
    peer: Peer,
    event: 'unlock' | 'slot_test',
  ): Promise<OpenedScope> {
    const path = this.#pathOf(scope);
    const refusal = this.#throttle.refusal(scope, peer.uid);
    if (refusal !== undefined) {
      // One row a wait: who hammers on must not fill the disk.
      if (refusal.first) await this.audit({ event, result: 'throttled', scope }, peer);
      throw refusal.failure;
    }
    let opened: OpenedScope | undefined;
    try {
      opened = await this.#secrets.open(this.#context(scope), this.#rows(scope), input);
      if (opened === undefined) {
        this.#throttle.wrong(scope, peer.uid);
        throw new Failure('bad_key', `that key opens no slot of ${path}`, {
          hint: `see its slots with: scopefs slot list ${path}`,
        });
      }
    } catch (error) {
      const code = error instanceof Failure ? error.code : 'internal';
      const detail = error instanceof Failure && code === 'integrity' ? { detail: error.message } : {};
      await this.audit({ event, result: code, scope, ...detail }, peer);
      throw error instanceof Failure && code === 'integrity'
        ? new Failure('integrity', `${path}: ${error.message}`, {
            hint: error.hint,
            ...(error.details === undefined ? {} : { details: error.details }),
          })
        : error;
    }
    this.#throttle.right(scope, peer.uid);
    const { rewrapped, damaged } = opened;
    try {
      await this.noteDamaged(scope, damaged, peer);
      if (rewrapped !== undefined) {
        const { store } = this.#services;
        await store.commit(() => store.putWrap(scope, rewrapped));
      }
    } catch (error) {
      for (const secret of opened.secrets) secret.wipe();
      throw error;
    }
    return opened;
  }

  /** The root scope's other epochs: its current secret came with the mount. */
  unchainRoot(scope: ScopeId, current: Secret): OpenedScope {
    return this.#secrets.unchain(this.#context(scope), this.#rows(scope), current);
  }

  async noteDamaged(scope: ScopeId, damaged: readonly number[], peer: Peer | undefined): Promise<void> {
    if (damaged.length === 0) return;
    await this.#services.store.commit(() => {
      for (const slot of damaged) {
        const detail = 'its row is not what the slot list vouches for: it opens nothing';
        this.record({ event: 'integrity', result: 'integrity', scope, slot, detail }, peer);
      }
    });
  }

  /** Lends the secret of an unlocked scope's current epoch. */
  async #withSecret<T>(
    scope: ScopeId,
    use: (secret: Secret, rows: ScopeSecretRows) => T | Promise<T>,
  ): Promise<T> {
    const secret = this.#services.memory.allocate(32);
    try {
      const { epoch } = await this.#core.call({ op: 'lend', scope, to: secret.address });
      if (epoch < 0) {
        throw new Failure('locked', `${this.#pathOf(scope)} is locked`, {
          hint: 'its slots can be changed while it is unlocked: name a key with --with SRC',
        });
      }
      const rows = this.#rows(scope);
      if (rows.epochs.at(-1)?.epoch !== epoch) {
        throw new Failure('busy', `${this.#pathOf(scope)} begins a new epoch`, { hint: 'try again' });
      }
      return await use(secret, rows);
    } finally {
      secret.wipe();
    }
  }

  async list(scope: ScopeId): Promise<SlotView[]> {
    const judge = (secret: Secret, rows: ScopeSecretRows): readonly number[] =>
      this.#secrets.damaged(this.#context(scope), rows, secret);
    let damaged: readonly number[] | undefined;
    try {
      damaged = await this.#withSecret(scope, judge);
    } catch (error) {
      if (!(error instanceof Failure) || (error.code !== 'locked' && error.code !== 'busy')) throw error;
    }
    const { slots } = this.#rows(scope);
    const missing = (damaged ?? []).filter((number) => !slots.some((slot) => slot.number === number));
    return [...slots.map((slot) => this.#view(scope, slot, damaged)), ...missing.map(missingView)].sort(
      (a, b) => a.number - b.number,
    );
  }
  #view(scope: ScopeId, slot: SlotRow, damaged: readonly number[] | undefined): SlotView {
    return {
      number: slot.number,
      type: slot.type,
      label: this.#label(scope, slot) ?? null,
      created: new Date(slot.created * 1000).toISOString(),
      status: damaged === undefined ? 'unverified' : damaged.includes(slot.number) ? 'damaged' : 'ok',
    };
  }
  #label(scope: ScopeId, slot: SlotRow): string | undefined {
    const { label, number } = slot;
    return label === undefined ? undefined : this.#services.storeKey.openLabel(scope, number, label);
  }

  /** In turn, as every opening: many guesses at once would all pass the throttle before the first counts. */
  test(scope: ScopeId, input: SecretInput, peer: Peer): Promise<SlotView> {
    return this.inTurn(scope, async () => {
      const opened = await this.open(scope, input, peer, 'slot_test');
      for (const secret of opened.secrets) secret.wipe();
      await this.audit({ event: 'slot_test', result: 'ok', scope, slot: opened.slot.number }, peer);
      return this.#view(scope, opened.slot, opened.damaged);
    });
  }

  add(
    scope: ScopeId,
    wanted: { type: SlotType; label: string | undefined },
    input: SecretInput,
    peer: Peer,
  ): Promise<SlotView> {
    Slots.check(wanted.type, input);
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const context = this.#context(scope);
        this.#refuseDamaged(scope, this.#secrets.damaged(context, rows, secret));
        if (rows.slots.length >= MOST_SLOTS) {
          throw new Failure('conflict', `a scope has at most ${MOST_SLOTS} slots`, {
            hint: 'remove one that nobody uses: scopefs slot rm SCOPE SLOT',
          });
        }
        const { type, label } = wanted;
        if (label !== undefined) this.#refuseLabel(scope, rows.slots, label);
        const number = Math.max(...rows.slots.map((slot) => slot.number)) + 1;
        const epoch = (rows.epochs.at(-1) as EpochRow).epoch;
        const made = await this.#slots.make(context, number, type, input, epoch, secret, seconds());
        const sealed =
          label === undefined ? undefined : this.#services.storeKey.sealLabel(scope, number, label);
        const slot: SlotRow = { ...made.slot, label: sealed };
        const change = this.#secrets.withSlots(context, [...rows.slots, slot], rows, secret);
        const { store } = this.#services;
        await store.commit(() => {
          this.record({ event: 'slot_add', result: 'ok', scope, slot: number, detail: type }, peer);
          store.addSlot(scope, slot);
          store.putWrap(scope, made.wrap);
          store.setState(scope, change.state, change.slotList);
        });
        await this.writeCopy(scope);
        return this.#view(scope, slot, []);
      }),
    );
  }

  remove(scope: ScopeId, reference: string, peer: Peer): Promise<SlotChangeView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#find(scope, rows.slots, damaged, reference);
        // What is damaged goes when one of them is named, all at once: none opens anything. Never beside a whole one,
        // where an edited recovery slot would vanish unnoticed.
        const isDamaged = damaged.includes(slot.number);
        if (!isDamaged) this.#refuseDamaged(scope, damaged);
        const gone = new Set([slot.number, ...damaged]);
        const left = rows.slots.filter(({ number }) => !gone.has(number));
        const path = this.#pathOf(scope);
        if (left.length === 0) {
          throw new Failure('conflict', `slot ${slot.number} is the last one of ${path}`, {
            hint: 'add another first: scopefs slot add',
          });
        }
        if (!isDamaged && slot.type === 'recovery' && !left.some(({ type }) => type === 'recovery')) {
          throw new Failure('conflict', `slot ${slot.number} is the last recovery slot of ${path}`, {
            hint: 'add another recovery slot first: scopefs slot add --slot recovery',
          });
        }
        const view = 'publicKey' in slot ? this.#view(scope, slot, damaged) : missingView(slot.number);
        const detail = { event: 'slot_remove', slot: slot.number, detail: view.type ?? 'missing' } as const;
        return this.#advance(scope, rows, secret, left, gone, detail, peer, view);
      }),
    );
  }

  rotate(scope: ScopeId, reference: string, input: SecretInput, peer: Peer): Promise<SlotChangeView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#find(scope, rows.slots, [], reference) as SlotRow;
        Slots.check(slot.type, input);
        this.#refuseDamaged(
          scope,
          damaged.filter((number) => number !== slot.number),
        );
        const others = rows.slots.filter(({ number }) => number !== slot.number);
        const detail = { event: 'slot_rotate', slot: slot.number, detail: slot.type } as const;
        const gone = new Set([slot.number]);
        const view = this.#view(scope, slot, []);
        return this.#advance(scope, rows, secret, others, gone, detail, peer, view, { slot, input });
      }),
    );
  }

  /** A new epoch for `left` (and a slot made anew): stored, then used from the next seal on. */
  async #advance(
    scope: ScopeId,
    rows: ScopeSecretRows,
    secret: Secret,
    left: readonly SlotRow[],
    gone: ReadonlySet<number>,
    entry: Pick<AuditedEvent, 'event' | 'slot' | 'detail'>,
    peer: Peer,
    view: SlotView,
    anew?: { slot: SlotRow; input: SecretInput },
  ): Promise<SlotChangeView> {
    const { store } = this.#services;
    const context = this.#context(scope);
    const next = this.#secrets.fresh();
    // As text: the store key that sealed it may be replaced meanwhile.
    const name = anew === undefined ? undefined : this.#label(scope, anew.slot);
    try {
      const now = seconds();
      const epoch = (rows.epochs.at(-1) as EpochRow).epoch + 1;
      const made =
        anew === undefined
          ? undefined
          : await this.#slots.make(context, anew.slot.number, anew.slot.type, anew.input, epoch, next, now);
      const slots = made === undefined ? left : [...left, made.slot];
      const wraps = made === undefined ? [] : [made.wrap];
      const change = await this.#secrets.advance(context, slots, rows, secret, next, now, wraps);
      const isRoot = rows.scope.parent === undefined;
      let stored = false;
      try {
        await store.commit(
          () => {
            this.record({ ...entry, result: 'ok', scope }, peer);
            for (const number of gone) store.removeSlot(scope, number);
            if (made !== undefined) {
              const { number } = made.slot;
              const label =
                name === undefined ? undefined : this.#services.storeKey.sealLabel(scope, number, name);
              store.addSlot(scope, { ...made.slot, label });
            }
            this.#apply(scope, change);
            return isRoot ? this.#renewStoreKey(scope, epoch, next) : undefined;
          },
          (storeKey) => {
            stored = true;
            // At once: whatever is sealed from now on must open under the key that the store names.
            if (storeKey === undefined) return;
            this.#services.storeKey.close();
            this.#services.storeKey = storeKey;
          },
        );
      } finally {
        // Also where the disk could not be synced: readers of the store see the new epoch.
        // Not unlocked any more: the next unlock begins in it.
        if (stored) await this.#core.call({ op: 'advance', scope, epoch, secret: next.address });
      }
      await this.writeCopy(scope);
      return {
        slot: view,
        epoch,
        still_readable: {
          written_before: new Date(now * 1000).toISOString(),
          epochs: rows.epochs.map((row) => row.epoch),
        },
      };
    } finally {
      next.wipe();
    }
  }

  #apply(scope: ScopeId, change: SlotChange): void {
    const { store } = this.#services;
    if (change.epoch !== undefined) store.addEpoch(scope, change.epoch);
    for (const wrap of change.wraps) store.putWrap(scope, wrap);
    store.setState(scope, change.state, change.slotList);
  }

  /** Labels go over to a new store key, which the removed holder of a root slot does not have. */
  #renewStoreKey(root: ScopeId, epoch: number, epochSecret: Secret): StoreKey {
    const { store, suite, memory, vault, storeKey } = this.#services;
    const fresh = StoreKey.create(suite, memory, vault.record.volume, epoch);
    for (const row of store.scopes()) {
      // A damaged one stays: the scope's directory brings it back when it is seen.
      const path = storeKey.openPath(row.id, row.path);
      if (path !== undefined) store.setPath(row.id, fresh.sealPath(row.id, path));
      for (const slot of store.slots(row.id)) {
        const label = this.#label(row.id, slot);
        if (label !== undefined) {
          store.setLabel(row.id, slot.number, fresh.sealLabel(row.id, slot.number, label));
        }
      }
    }
    store.setMeta('store_key', fresh.wrap(suite, memory, root, epochSecret));
    store.setMeta(`store_key_before_${epoch}`, fresh.succeed(suite, memory, root, storeKey));
    return fresh;
  }

  /** Repeats an unlocked scope's slots in its root directory. A failure is no harm today: the next unlock tries again. */
  async writeCopy(scope: ScopeId): Promise<void> {
    const rows = this.#rows(scope);
    const epoch = (rows.epochs.at(-1) as EpochRow).epoch;
    const list = peekSlotList(rows.scope.slotList)?.version ?? 0;
    const body = Buffer.from(
      JSON.stringify(rows, (_key, value: unknown) =>
        isBuffer(value) ? Buffer.from(value.data).toString('base64') : value,
      ),
    );
    const bytes = encodeSlotCopy(scope, { epoch, list }, body);
    await this.#core.call({ op: 'slotCopy', scope, bytes });
  }

  /** A slot by number or label; of those that the list has and the store has not, its number alone. */
  #find(
    scope: ScopeId,
    slots: readonly SlotRow[],
    listed: readonly number[],
    reference: string,
  ): SlotRow | { readonly number: number; readonly type: undefined } {
    const found = slots.find(
      (slot) => String(slot.number) === reference || this.#label(scope, slot) === reference,
    );
    if (found !== undefined) return found;
    const missing = listed.find((number) => String(number) === reference);
    if (missing !== undefined) return { number: missing, type: undefined };
    throw new Failure('not_found', `${this.#pathOf(scope)} has no slot ${reference}`, {
      hint: 'list them with: scopefs slot list SCOPE',
    });
  }

  #refuseLabel(scope: ScopeId, slots: readonly SlotRow[], label: string): void {
    if (/^\d+$/.test(label)) {
      throw new Failure('usage', `a label is not a number: ${label}`, { hint: 'numbers name slots already' });
    }
    if (slots.some((slot) => this.#label(scope, slot) === label)) {
      throw new Failure('conflict', `${this.#pathOf(scope)} has a slot ${label} already`, {
        hint: 'choose another label; see: scopefs slot list SCOPE',
      });
    }
  }

  #refuseDamaged(scope: ScopeId, damaged: readonly number[]): void {
    if (damaged.length === 0) return;
    const which = damaged.map((number) => `slot ${number}`).join(', ');
    throw new Failure('integrity', `${this.#pathOf(scope)}: ${which} is not what its slot list vouches for`, {
      details: { slots: damaged },
      hint: 'remove it first: scopefs slot rm SCOPE SLOT',
    });
  }
}

/** A slot that the list vouches for and the store has lost. */
function missingView(number: number): SlotView {
  return { number, type: null, label: null, created: null, status: 'missing' };
}

function isBuffer(value: unknown): value is { data: number[] } {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'Buffer';
}

/** What people call that process: a script by its own name, not its interpreter's. */
function commandOf(pid: number): string | undefined {
  try {
    const comm = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    if (comm !== 'node') return comm;
    const [, script] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return script === undefined || script === '' ? comm : basename(script);
  } catch {
    return undefined;
  }
}
