import { Refusal, type Reply } from '../contract.js';
import type { IoBuffers } from '../inodes/io-buffers.js';
import { loadFile } from './file-load.js';
import { type Claim, Turn, WHOLE } from './file-queue.js';
import type { OpenFile } from './open-file.js';

/** What an operation may do in a file. */
export interface OperationOptions {
  /** The header is read first; until then the whole file is claimed. */
  readonly loaded: boolean;
  /** The operation will never run, and its reply has the error. */
  readonly refused?: () => void;
}
/** Needs the header, and nothing to be put back where it is refused. */
export const LOADED: OperationOptions = { loaded: true };
/** Goes without the header. */
export const UNLOADED: OperationOptions = { loaded: false };

/** One operation inside a file, with buffers of its own: from its turn to {@link Operation.leave}. */
export class Operation extends Turn {
  readonly file: OpenFile;
  readonly #needs: Claim | (() => Claim);
  readonly #options: OperationOptions;
  readonly #body: (operation: Operation) => void;

  private constructor(
    file: OpenFile,
    needs: Claim | (() => Claim),
    reply: Reply | undefined,
    options: OperationOptions,
    body: (operation: Operation) => void,
  ) {
    const claim = options.loaded && !file.loaded ? WHOLE : typeof needs === 'function' ? needs() : needs;
    super(claim, reply);
    this.file = file;
    this.#needs = needs;
    this.#options = options;
    this.#body = body;
  }

  /**
   * Runs `body` in a file, once those before it have left. `needs`: the bytes that it works on; a function is asked again
   * when its turn comes. `body` must leave.
   */
  static run(
    file: OpenFile,
    needs: Claim | (() => Claim),
    reply: Reply | undefined,
    options: OperationOptions,
    body: (operation: Operation) => void,
  ): void {
    file.queue.enter(new Operation(file, needs, reply, options, body));
  }

  get #claimNow(): Claim {
    if (this.#options.loaded && !this.file.loaded) return WHOLE;
    return typeof this.#needs === 'function' ? this.#needs() : this.#needs;
  }
  get buffers(): IoBuffers {
    return this.io as IoBuffers;
  }

  start(): void {
    const { file } = this;
    const now = this.waited ? this.#claimNow : this.claim;
    if (now.exclusive && now.to > this.claim.to) {
      // The file changed while this one waited.
      file.queue.widen(this, WHOLE);
      return;
    }
    this.io = file.volume.io.take();
    if (!this.#options.loaded || file.loaded) {
      this.#body(this);
      return;
    }
    loadFile(file, this.io, (result) => {
      if (result < 0) {
        this.leave();
        this.refused();
        this.reply?.refuse(Refusal.failed(result));
      } else {
        file.queue.narrow(this, this.#claimNow);
        this.#body(this);
      }
    });
  }
  refused(): void {
    this.#options.refused?.();
  }

  /** Needs less from now on. */
  narrow(claim: Claim): void {
    if (!this.left) this.file.queue.narrow(this, claim);
  }
  /** Gives buffers and turn back. */
  leave(): void {
    const { file } = this;
    file.volume.io.give(this.buffers, file.dead);
    file.queue.leave(this);
  }
}
