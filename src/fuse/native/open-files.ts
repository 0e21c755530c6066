import type { NodeId } from '../../filesystem/contract.js';

export interface OpenFile {
  readonly nodeid: NodeId;
  /** The core's file handle. */
  readonly fh: number;
  /** Lookup references that it holds, from the root to the file. */
  readonly chain: readonly NodeId[];
  /** File capabilities went at the first write, as with every other filesystem. */
  written: boolean;
}

const LAST_FD = 0x7fff_ffff;

/** Files that libfuse has open, by the number of 31 bits that it keeps for each (the binding's `fd`). */
export class OpenFiles {
  readonly #files = new Map<number, OpenFile>();
  #next = 1;

  /** Gives the last node of `chain`, opened as `fh`, its `fd`. */
  add(fh: number, chain: readonly NodeId[]): number {
    while (this.#files.has(this.#next)) this.#next = (this.#next % LAST_FD) + 1;
    const fd = this.#next;
    this.#next = (fd % LAST_FD) + 1;
    this.#files.set(fd, { nodeid: chain.at(-1) as NodeId, fh, chain, written: false });
    return fd;
  }
  get(fd: number): OpenFile | undefined {
    return this.#files.get(fd);
  }
  delete(fd: number): void {
    this.#files.delete(fd);
  }
}
