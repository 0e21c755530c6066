import type { Core } from '../filesystem/core.js';
import type { Pinned } from '../libc/memory.js';
import { MESSAGE_BYTES } from './abi/init.js';
import { Request } from './abi/request.js';
import { BufferPool } from './buffer-pool.js';
import { type AnyHandler, type Handlers, handlers, type SessionEvents } from './handlers.js';
import { FuseReply, wipeSmall } from './reply.js';

/** Callers that took turns within so long (ms) are several. */
const SEVERAL_MS = 1000;
const MOST_CALLERS = 64;

/** Turns kernel requests into operations of the core. One request at a time, on the filesystem worker. */
export class Session {
  readonly #fd: number;
  readonly #handlers: Handlers;
  readonly #request = new Request();
  /** For requests, and for replies that carry data. */
  readonly #buffers = new BufferPool(MESSAGE_BYTES);
  /** Thread ids of our notifiers: their requests are served while a scope is being locked. */
  readonly notifiers = new Set<number>();
  #receive: Pinned = this.#buffers.take();
  #handling = false;
  #wipeAfter = false;
  /** Requests handled since the start. */
  handled = 0;
  #caller = 0;
  #lastAt = 0;
  /** When others were served last. */
  readonly #callers = new Map<number, number>();
  #alternated = Number.NEGATIVE_INFINITY;
  /** The request that kept this thread longest: while it ran no other was served. */
  longest = { operation: 'none', milliseconds: 0 };

  /** `writeback`: the kernel may collect writes before it sends them. */
  constructor(core: Core, fd: number, writeback: boolean, events: SessionEvents) {
    this.#fd = fd;
    this.#handlers = handlers(core, writeback, events);
  }

  /** Whether requests of more than one caller came within the last second. */
  get several(): boolean {
    return performance.now() - this.#alternated < SEVERAL_MS;
  }

  /** Where the next request is to be read to. */
  get buffer(): Pinned {
    return this.#receive;
  }

  /** A scope was wiped: what buffers still hold of it goes too; a request being handled is finished first. */
  wipe(): void {
    if (this.#handling) {
      this.#wipeAfter = true;
      return;
    }
    this.#wipeAfter = false;
    this.#sweep();
    this.#buffers.wipe();
    this.#receive.bytes.fill(0);
    wipeSmall();
  }

  /** Handles the `length` bytes read into {@link buffer}. */
  handle(length: number): void {
    this.handled++;
    this.#handling = true;
    const started = performance.now();
    this.#dispatch(length);
    const milliseconds = performance.now() - started;
    if (milliseconds > this.longest.milliseconds) {
      this.longest = { operation: this.#request.opcode ?? 'unknown', milliseconds };
    }
    this.#note(this.#request.pid, started);
    this.#handling = false;
    if (this.#wipeAfter) this.wipe();
  }

  /** Callers that take turns within a second are several. */
  #note(pid: number, started: number): void {
    // 0: a kernel thread, as that of a read ahead.
    if (pid === 0) return;
    if (pid !== this.#caller) {
      // One that comes back: processes that follow each other are one caller.
      if (started - (this.#callers.get(pid) ?? 0) < SEVERAL_MS) this.#alternated = started;
      if (this.#callers.size >= MOST_CALLERS) this.#callers.clear();
      this.#callers.set(this.#caller, this.#lastAt);
      this.#caller = pid;
    }
    this.#lastAt = started;
  }

  #dispatch(length: number): void {
    const request = this.#request;
    const buffer = this.#receive;
    const refused = request.decode(buffer, length);
    const reply = new FuseReply(this.#fd, this.#buffers, request.uniqueLow, request.uniqueHigh);
    const { opcode, uid, gid, pid } = request;
    if (refused !== 0 || opcode === undefined) {
      reply.error(refused);
      return;
    }
    const handler: AnyHandler = this.#handlers[opcode];
    // The fields are the opcode's own: what the compiler can't follow.
    handler(request.fields as never, { uid, gid, pid, trusted: this.notifiers.has(pid) }, reply);
    if (opcode === 'WRITE' && !reply.done) {
      // The operation still needs the data: it keeps this buffer, the next request gets another.
      this.#receive = this.#buffers.take();
      this.#keep(reply, buffer);
    }
  }

  readonly #kept: { reply: FuseReply; buffer: Pinned }[] = [];
  #keep(reply: FuseReply, buffer: Pinned): void {
    this.#kept.push({ reply, buffer });
    this.#sweep();
  }
  /** Takes back the buffers of answered requests. */
  #sweep(): void {
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const entry = this.#kept[i];
      if (entry?.reply.done === true) {
        this.#buffers.give(entry.buffer);
        this.#kept.splice(i, 1);
      }
    }
  }
}
