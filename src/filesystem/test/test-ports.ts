import type { CachedName, CachePort, NodeId, Victim } from '../contract.js';
import type { Backing, Executor, Job } from '../disk/backing.js';

/** Test support: executors, and a kernel's cache that answers when the test says so. */

/** Runs each job at once on the calling thread. */
export class InlineExecutor implements Executor {
  readonly #backing: Backing;
  constructor(backing: Backing) {
    this.#backing = backing;
  }
  run(job: Job, done: (result: number) => void): void {
    done(this.#backing.perform(job));
  }
  readonly warmsFirst = (): boolean => false;
  took(): void {}
  yield(then: () => void): void {
    then();
  }
}

/** Completes jobs when told to, in an order that the test chooses. */
export class LateExecutor implements Executor {
  /** Whether every look-up waits for a job of its own. */
  slow = false;
  readonly warmsFirst = (): boolean => this.slow;
  took(): void {}
  yield(then: () => void): void {
    this.waiting.push({ job: undefined, done: then });
  }
  readonly #backing: Backing;
  readonly waiting: { job: Job | undefined; done: (result: number) => void }[] = [];
  /** Called with each job before it is done. */
  onJob: (job: Job) => void = () => {};
  constructor(backing: Backing) {
    this.#backing = backing;
  }
  run(job: Job, done: (result: number) => void): void {
    this.waiting.push({ job, done });
  }
  /** Completes one; true if there was one. */
  step(pick: (waiting: number) => number = () => 0): boolean {
    if (this.waiting.length === 0) return false;
    const [entry] = this.waiting.splice(pick(this.waiting.length), 1);
    if (entry === undefined) return true;
    const { job, done } = entry;
    if (job !== undefined) this.onJob(job);
    done(job === undefined ? 0 : this.#backing.perform(job));
    return true;
  }
}

export interface CacheCall {
  kind: 'flush' | 'pages' | 'range' | 'names';
  nodes: readonly NodeId[];
  entries: readonly CachedName[];
}

/** A kernel that has no pages. `hold` keeps answers back until {@link TestCache.answer}. */
export class TestCache implements CachePort {
  readonly calls: CacheCall[] = [];
  hold = false;
  /** What the kernel does while it flushes: writes of dirty pages. */
  onFlush: (node: NodeId) => void = () => {};
  readonly #held: { kind: CacheCall['kind']; then: () => void }[] = [];
  flush(node: NodeId, done: (result: number) => void): void {
    this.calls.push({ kind: 'flush', nodes: [node], entries: [] });
    this.onFlush(node);
    this.#later('flush', () => done(0));
  }
  /** Whose attributes the kernel was told to forget, beside a request. */
  readonly forgotten: NodeId[] = [];
  forgetAttributes(node: NodeId): void {
    this.forgotten.push(node);
  }
  /** Parts of a content whose pages were to go before a write was answered. */
  readonly ranges: { node: NodeId; offset: number; length: number }[] = [];
  dropRange(node: NodeId, offset: number, length: number, done: () => void): void {
    this.ranges.push({ node, offset, length });
    this.#later('range', done);
  }
  dropPages(nodes: readonly NodeId[], done: (failures: number) => void): void {
    this.calls.push({ kind: 'pages', nodes, entries: [] });
    this.#later('pages', () => done(0));
  }
  dropNames(entries: readonly CachedName[], done: (failures: number) => void): void {
    this.calls.push({ kind: 'names', nodes: [], entries });
    this.#later('names', () => done(0));
  }
  /** What the kernel was asked to forget. */
  readonly pruned: Victim[] = [];
  onPrune: (victims: readonly Victim[]) => void = () => {};
  prune(victims: readonly Victim[], done: () => void): void {
    this.pruned.push(...victims);
    done();
    this.onPrune(victims);
  }
  #later(kind: CacheCall['kind'], then: () => void): void {
    if (this.hold) this.#held.push({ kind, then });
    else then();
  }
  /** Answers the oldest order of the given kind, or of any; true if there was one. */
  answer(kind?: CacheCall['kind']): boolean {
    const at = this.#held.findIndex((held) => kind === undefined || held.kind === kind);
    if (at < 0) return false;
    const [held] = this.#held.splice(at, 1);
    held?.then();
    return true;
  }
}
