import { type Caller, type NodeId, Refusal } from '../contract.js';
import { flag, NO_SLOT, type Slot } from '../inodes/inode-table.js';
import type { Volume } from '../inodes/volume.js';

/** What a request does to a node, and with it what refuses it. */
const ACCESS = {
  /** Serves dirty pages or gives something back: allowed until the wipe, for all. */
  drain: { judged: false, changes: false },
  /** By an open handle, whoever has it now; or a LOOKUP, whose refusal would take the name from others (README.md). */
  handle: { judged: false, changes: false },
  /** By a name: refused to callers who may not see the scope. */
  use: { judged: true, changes: false },
  change: { judged: true, changes: true },
} as const;
export type Access = keyof typeof ACCESS;

/** Which requests go on: the one place where a node's generation, its scope's state and the caller are judged. */
export class Admission {
  readonly #volume: Volume;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** The slot of a node that a request may go on with, or why not. */
  admit(node: NodeId, caller: Caller, access: Access): Slot | Refusal {
    const slot = this.#known(node);
    if (slot instanceof Refusal) return slot;
    const scope = this.#volume.scopeOf(slot);
    if (scope.state === 'open') {
      const { judged, changes } = ACCESS[access];
      if (judged && !scope.admits(caller)) return Refusal.for('caller');
      if (changes && scope.readOnly) return Refusal.for('read_only');
      // Of a restricted one what was judged counts alone: others may knock as long as they like.
      if (!caller.trusted && (judged || !scope.restricted)) scope.operations++;
      return slot;
    }
    if (scope.state === 'locked') return Refusal.for('locked');
    return access === 'drain' || caller.trusted ? slot : Refusal.for('locking');
  }

  /**
   * As {@link admit}, for who asks what a node is alone (GETATTR): also of a locked scope's root. `byHandle`: a writer that
   * holds the file must notice a lock under way, else it goes on dirtying whole pages (FACTS.md).
   */
  admitLook(node: NodeId, caller: Caller, byHandle: boolean): Slot | Refusal {
    const slot = this.#known(node);
    if (slot instanceof Refusal) return slot;
    const scope = this.#volume.scopeOf(slot);
    if (scope.state === 'locking' && byHandle && !caller.trusted) return Refusal.for('locking');
    if (!this.passes(slot, caller)) return Refusal.for('caller');
    // A look at a scope from outside does not use it.
    if (slot !== scope.root && !caller.trusted && !scope.restricted) scope.operations++;
    return slot;
  }

  #known(node: NodeId): Slot | Refusal {
    const { table } = this.#volume;
    const slot = table.slot(node);
    if (slot === NO_SLOT) return Refusal.for('unknown');
    if (table.has(slot, flag.DEAD)) return Refusal.for('generation');
    table.set(slot, flag.RECENT);
    return slot;
  }

  /** Whether a caller may see and move an object as a name in its parent: a restricted scope's root only who is let in. */
  passes(slot: Slot, caller: Caller): boolean {
    return !this.#volume.table.has(slot, flag.SCOPE_ROOT) || this.#volume.scopeOf(slot).admits(caller);
  }
}
