import { Failure } from '../base/failure.js';
import type { ScopeId } from '../base/ids.js';
import type { SlotChangeView, SlotView } from '../control/schemas.js';
import type { Peer } from '../control/service.js';
import { MOST_SLOTS } from '../format/slot-list.js';
import { type OpenedScope, ScopeSecrets, type SlotChange } from '../keyring/scope-secrets.js';
import { type SlotContext, Slots } from '../keyring/slots.js';
import type { StoreKey } from '../keyring/store-key.js';
import { Throttle } from '../keyring/throttle.js';
import type { Secret, SecretInput } from '../libc/memory.js';
import { systemClock } from '../libc/system.js';
import type { EpochRow, ScopeSecretRows, SlotRow, SlotType } from '../store/rows.js';
import { type AuditedEvent, AuditLog } from './audit-log.js';
import { ChildKem } from './kem.js';
import { slotCopyOf } from './slot-copies.js';
import { missingView, SlotNames } from './slot-names.js';
import type { SlotServices } from './slot-services.js';
import type { CoreCalls } from './transport.js';

const seconds = (): number => Math.floor(systemClock.wall() / 1000);

/** Slots of the scopes of a mounted vault: who can open what, and every change of that. */
export class ScopeSlots {
  readonly #services: SlotServices;
  readonly #core: CoreCalls;
  readonly #slots: Slots;
  readonly #secrets: ScopeSecrets;
  readonly #throttle = new Throttle(systemClock);
  readonly #pathOf: (scope: ScopeId) => string;
  readonly #names: SlotNames;
  readonly audit: AuditLog;
  /** The last change or opening under way of each scope: one after another. */
  readonly #turns = new Map<ScopeId, Promise<void>>();

  constructor(services: SlotServices, core: CoreCalls, pathOf: (scope: ScopeId) => string) {
    const { suite, memory, vault } = services;
    this.#services = services;
    this.#core = core;
    this.#slots = new Slots(suite, memory, new ChildKem(memory));
    this.#secrets = new ScopeSecrets(suite, memory, this.#slots, vault.recordHash);
    this.#pathOf = pathOf;
    this.#names = new SlotNames(services, pathOf);
    this.audit = new AuditLog(services);
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
      this.audit.record({ event: 'create', result: 'ok', scope: id, ...detail }, peer);
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
      if (refusal.first) await this.audit.write({ event, result: 'throttled', scope }, peer);
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
      await this.audit.write({ event, result: code, scope, ...detail }, peer);
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
        this.audit.record({ event: 'integrity', result: 'integrity', scope, slot, detail }, peer);
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
    return [...slots.map((slot) => this.#names.view(scope, slot, damaged)), ...missing.map(missingView)].sort(
      (a, b) => a.number - b.number,
    );
  }
  /** In turn, as every opening: many guesses at once would all pass the throttle before the first counts. */
  test(scope: ScopeId, input: SecretInput, peer: Peer): Promise<SlotView> {
    return this.inTurn(scope, async () => {
      const opened = await this.open(scope, input, peer, 'slot_test');
      for (const secret of opened.secrets) secret.wipe();
      await this.audit.write({ event: 'slot_test', result: 'ok', scope, slot: opened.slot.number }, peer);
      return this.#names.view(scope, opened.slot, opened.damaged);
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
        if (label !== undefined) this.#names.refuseLabel(scope, rows.slots, label);
        const number = Math.max(...rows.slots.map((slot) => slot.number)) + 1;
        const epoch = (rows.epochs.at(-1) as EpochRow).epoch;
        const made = await this.#slots.make(context, number, type, input, epoch, secret, seconds());
        const sealed =
          label === undefined ? undefined : this.#services.storeKey.sealLabel(scope, number, label);
        const slot: SlotRow = { ...made.slot, label: sealed };
        const change = this.#secrets.withSlots(context, [...rows.slots, slot], rows, secret);
        const { store } = this.#services;
        await store.commit(() => {
          this.audit.record({ event: 'slot_add', result: 'ok', scope, slot: number, detail: type }, peer);
          store.addSlot(scope, slot);
          store.putWrap(scope, made.wrap);
          store.setState(scope, change.state, change.slotList);
        });
        await this.writeCopy(scope);
        return this.#names.view(scope, slot, []);
      }),
    );
  }

  remove(scope: ScopeId, reference: string, peer: Peer): Promise<SlotChangeView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#names.find(scope, rows.slots, damaged, reference);
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
        const view = 'publicKey' in slot ? this.#names.view(scope, slot, damaged) : missingView(slot.number);
        const detail = { event: 'slot_remove', slot: slot.number, detail: view.type ?? 'missing' } as const;
        return this.#advance(scope, rows, secret, left, gone, detail, peer, view);
      }),
    );
  }

  rotate(scope: ScopeId, reference: string, input: SecretInput, peer: Peer): Promise<SlotChangeView> {
    return this.inTurn(scope, () =>
      this.#withSecret(scope, async (secret, rows) => {
        const damaged = this.#secrets.damaged(this.#context(scope), rows, secret);
        const slot = this.#names.find(scope, rows.slots, [], reference) as SlotRow;
        Slots.check(slot.type, input);
        this.#refuseDamaged(
          scope,
          damaged.filter((number) => number !== slot.number),
        );
        const others = rows.slots.filter(({ number }) => number !== slot.number);
        const detail = { event: 'slot_rotate', slot: slot.number, detail: slot.type } as const;
        const gone = new Set([slot.number]);
        const view = this.#names.view(scope, slot, []);
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
    const name = anew === undefined ? undefined : this.#names.label(scope, anew.slot);
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
      let renewed: StoreKey | undefined;
      try {
        await store.commit(
          () => {
            this.audit.record({ ...entry, result: 'ok', scope }, peer);
            for (const number of gone) store.removeSlot(scope, number);
            if (made !== undefined) {
              const { number } = made.slot;
              const label =
                name === undefined ? undefined : this.#services.storeKey.sealLabel(scope, number, name);
              store.addSlot(scope, { ...made.slot, label });
            }
            this.#apply(scope, change);
            renewed = isRoot ? this.#names.renewKey(scope, epoch, next) : undefined;
            return renewed;
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
        else renewed?.close();
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

  /** Repeats an unlocked scope's slots in its root directory. A failure is no harm today: the next unlock tries again. */
  async writeCopy(scope: ScopeId): Promise<void> {
    const bytes = slotCopyOf(scope, this.#rows(scope));
    await this.#core.call({ op: 'slotCopy', scope, bytes });
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
