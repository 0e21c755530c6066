import type { CachedName, CachePort, NodeId, Victim } from '../filesystem/contract.js';
import { NOTIFIERS, type NotifierAnswer, type NotifierLine, type NotifierOrder } from './messages.js';

/**
 * The first notifier drops pages only, which waits for nobody but us: a deadline can rely on it. The others may wait
 * on a caller's inode or directory lock: each has one order at a time, and the rest wait here.
 */
const PAGES = 0;

/** Sends orders to the notifiers' threads; their answers come in with the mail. */
export class RemoteCache implements CachePort {
  readonly #waiting = new Map<number, { thread: number; done: (result: number) => void }>();
  /** Orders for the shared threads that all have one: names first, as an unlock waits for them. */
  readonly #queue: { order: NotifierOrder; done: (result: number) => void }[] = [];
  readonly #busy = new Set<number>();
  #next = 1;
  readonly #lines: readonly NotifierLine[];
  readonly #start: (index: number) => void;
  /** So many lines have a thread; one more may be on its way. */
  #started: number = NOTIFIERS.atFirst;
  #starting = false;
  /** The mount is gone: there are no caches any more. */
  #closed = false;

  /**
   * `start`: asks for the thread of a line; {@link RemoteCache.started} says that it is there. `forget`: what needs no
   * thread ({@link CachePort.forgetAttributes}).
   */
  constructor(
    lines: readonly NotifierLine[],
    start: (index: number) => void,
    forget: (node: NodeId) => void,
  ) {
    this.#lines = lines;
    this.#start = start;
    this.forgetAttributes = forget;
  }

  readonly forgetAttributes: (node: NodeId) => void;
  started(index: number): void {
    if (index < this.#started) return;
    this.#started = index + 1;
    this.#starting = false;
    this.#take(index);
  }
  /** Gives a thread without an order the next that waits. */
  #take(thread: number): void {
    const next = thread === PAGES ? undefined : this.#queue.shift();
    if (next !== undefined) this.#order(thread, next.order, next.done);
    if (this.#queue.length > 0) this.#more();
  }
  #more(): void {
    if (this.#starting || this.#started >= this.#lines.length) return;
    this.#starting = true;
    this.#start(this.#started);
  }

  #order(thread: number, order: NotifierOrder, done: (result: number) => void): void {
    this.#waiting.set(order.id, { thread, done });
    if (thread !== PAGES) this.#busy.add(thread);
    const { port, bell } = this.#lines[thread] as NotifierLine;
    port.postMessage(order);
    Atomics.store(bell, 0, 1);
    Atomics.notify(bell, 0);
  }
  /** Gives an order to a shared thread that has none, so that a stuck one holds up nothing but itself. */
  #shared(order: NotifierOrder, done: (result: number) => void): void {
    if (this.#closed) {
      done(0);
      return;
    }
    for (let thread = PAGES + 1; thread < this.#started; thread++) {
      if (!this.#busy.has(thread)) {
        this.#order(thread, order, done);
        return;
      }
    }
    if (order.kind === 'names') this.#queue.unshift({ order, done });
    else this.#queue.push({ order, done });
    this.#more();
  }
  flush(node: NodeId, done: (result: number) => void): void {
    this.#shared({ id: this.#next++, kind: 'flush', node }, done);
  }
  dropPages(nodes: readonly NodeId[], done: (failures: number) => void): void {
    if (this.#closed) done(0);
    else this.#order(PAGES, { id: this.#next++, kind: 'pages', nodes }, done);
  }
  dropRange(node: NodeId, offset: number, length: number, done: () => void): void {
    if (this.#closed) done();
    else this.#order(PAGES, { id: this.#next++, kind: 'range', node, offset, length }, done);
  }
  dropNames(entries: readonly CachedName[], done: (failures: number) => void): void {
    this.#shared({ id: this.#next++, kind: 'names', entries }, done);
  }
  /** The kernel's protocol is 7.45 or newer: it knows PRUNE. */
  prunes = false;
  prune(victims: readonly Victim[], done: () => void): void {
    if (this.prunes) {
      const nodes = victims.map(({ node }) => node);
      this.#shared({ id: this.#next++, kind: 'prune', nodes }, done);
    } else {
      // Older kernels can only forget names, and detach what is mounted there: none of directories, and none at all
      // where something is mounted below us (the notifier looks).
      const entries = victims
        .filter(({ directory }) => !directory)
        .map(({ parent, name }) => ({ parent, name }));
      this.#shared({ id: this.#next++, kind: 'unused', entries }, done);
    }
  }
  receive(answer: Extract<NotifierAnswer, { kind: 'done' }>): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    this.#busy.delete(waiting.thread);
    this.#take(waiting.thread);
    waiting.done(answer.result);
  }
  /** Ends every wait: the mount is gone. */
  close(): void {
    this.#closed = true;
    const waiting = [...this.#waiting.values(), ...this.#queue.splice(0)];
    this.#waiting.clear();
    for (const { done } of waiting) done(0);
  }
}
