import { errnoName } from '../../base/errno.js';
import type { Pinned } from '../../libc/memory.js';
import type { Attributes, NodeId, OpenFlags, Refusal, RefusalReason, Reply, Usage } from '../contract.js';

/** Test support: what an operation answered. */

export type Answer =
  /** `reason`: where it was refused, not failed. */
  | { error: string; reason?: RefusalReason }
  | {
      error?: undefined;
      node?: NodeId;
      attributes?: Attributes;
      handle?: number;
      flags?: OpenFlags;
      data?: Buffer;
      written?: number;
      target?: string;
      usage?: Usage;
      position?: number;
      birth?: readonly [number, number] | undefined;
      bytes?: Buffer;
      negative?: boolean;
    };

/** Keeps what it was answered. */
export class RigReply implements Reply {
  answers: Answer[] = [];
  /** Answers after the first: by contract nobody sees them, but only a deadline may cause one. */
  ignored: Answer[] = [];
  /** Called with the first. */
  onAnswer: (answer: Answer) => void = () => {};
  readonly #buffer: Pinned;
  constructor(buffer: Pinned) {
    this.#buffer = buffer;
  }
  get done(): boolean {
    return this.answers.length > 0;
  }
  #answer(answer: Answer): void {
    if (this.done) {
      this.ignored.push(answer);
      return;
    }
    this.answers.push(answer);
    this.onAnswer(answer);
  }
  error(number: number): void {
    this.#answer({ error: errnoName(number) });
  }
  refuse({ reason, errno }: Refusal): void {
    this.#answer({ error: errnoName(errno), ...(reason === 'failed' ? {} : { reason }) });
  }
  ok(): void {
    this.#answer({});
  }
  entry(node: NodeId, attributes: Attributes): void {
    this.#answer({ node, attributes: { ...attributes } });
  }
  negative(): void {
    this.#answer({ negative: true });
  }
  attributes(attributes: Attributes): void {
    this.#answer({ attributes: { ...attributes } });
  }
  opened(handle: number, flags: OpenFlags): void {
    this.#answer({ handle, flags });
  }
  created(node: NodeId, attributes: Attributes, handle: number): void {
    this.#answer({ node, attributes: { ...attributes }, handle });
  }
  data(): { buffer: Pinned; at: number } {
    return { buffer: this.#buffer, at: 16 };
  }
  read(length: number): void {
    this.#answer({ data: Buffer.from(this.#buffer.bytes.subarray(16, 16 + length)) });
  }
  written(length: number): void {
    this.#answer({ written: length });
  }
  target(target: string): void {
    this.#answer({ target });
  }
  bytes(value: Buffer): void {
    this.#answer({ bytes: Buffer.from(value) });
  }
  statx(attributes: Attributes, birth: readonly [number, number] | undefined): void {
    this.#answer({ attributes: { ...attributes }, birth });
  }
  position(offset: number): void {
    this.#answer({ position: offset });
  }
  usage(usage: Usage): void {
    this.#answer({ usage });
  }
}
