import { errno } from '../../base/errno.js';
import type { Attributes, NodeId, Refusal, Reply, Usage } from '../../filesystem/contract.js';
import type { Pinned } from '../../libc/memory.js';

/** What an operation of the core came to. `error`: 0 or a positive errno. */
export interface Outcome {
  error: number;
  nodeid?: NodeId;
  attributes?: Attributes;
  fh?: number;
  /** Bytes read or written. */
  count?: number;
  target?: string;
  usage?: Usage;
}

/** Gives the outcome to a function. */
export class NativeReply implements Reply {
  #settled = false;
  readonly #then: (outcome: Outcome) => void;
  readonly #buffer: Pinned | undefined;

  /** `buffer`: where a READ puts its bytes. */
  constructor(then: (outcome: Outcome) => void, buffer?: Pinned) {
    this.#then = then;
    this.#buffer = buffer;
  }
  get done(): boolean {
    return this.#settled;
  }
  #settle(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#then(outcome);
  }
  error(number: number): void {
    this.#settle({ error: number });
  }
  refuse(refusal: Refusal): void {
    this.error(refusal.errno);
  }
  ok(): void {
    this.#settle({ error: 0 });
  }
  entry(nodeid: NodeId, attributes: Attributes): void {
    this.#settle({ error: 0, nodeid, attributes: { ...attributes } });
  }
  negative(): void {
    this.#settle({ error: errno.ENOENT });
  }
  attributes(attributes: Attributes): void {
    this.#settle({ error: 0, attributes: { ...attributes } });
  }
  opened(fh: number): void {
    this.#settle({ error: 0, fh });
  }
  created(nodeid: NodeId, attributes: Attributes, fh: number): void {
    this.#settle({ error: 0, nodeid, attributes: { ...attributes }, fh });
  }
  data(): { buffer: Pinned; at: number } {
    if (this.#buffer === undefined) throw new Error('no buffer for an answer with data');
    return { buffer: this.#buffer, at: 0 };
  }
  read(length: number): void {
    this.#settle({ error: 0, count: length });
  }
  written(length: number): void {
    this.#settle({ error: 0, count: length });
  }
  target(target: string): void {
    this.#settle({ error: 0, target });
  }
  usage(usage: Usage): void {
    this.#settle({ error: 0, usage: { ...usage } });
  }
  // Of operations that this transport has not, but for the removal of an attribute, which answers by ok or error.
  bytes(): void {
    this.error(errno.EOPNOTSUPP);
  }
  statx(): void {
    this.error(errno.EOPNOTSUPP);
  }
  position(): void {
    this.error(errno.EOPNOTSUPP);
  }
}
