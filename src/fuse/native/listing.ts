import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import type { Attributes, Caller, DirectorySink, NodeId } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import { textOf } from './convert.js';
import { NativeReply, type Outcome } from './reply.js';

/** Collects a listing, page after page. */
class NativeListing extends NativeReply implements DirectorySink {
  readonly plus = false;
  readonly #names: string[];
  /** The offset of what follows. */
  next: number;

  constructor(names: string[], from: number, then: (outcome: Outcome) => void) {
    super(then);
    this.#names = names;
    this.next = from;
  }
  add(name: string, _ino: number, _type: number, next: number): boolean {
    this.#names.push(name);
    this.next = next;
    return true;
  }
  addNode(name: string, _node: NodeId, _attributes: Attributes, next: number): boolean {
    return this.add(name, 0, 0, next);
  }
  fits(): boolean {
    return true;
  }
  end(): void {
    this.ok();
  }
}

/** All names of an open directory, which is closed then. `done`: 0, or -errno. */
export function listNames(
  core: Core,
  nodeid: NodeId,
  fh: number,
  caller: Caller,
  done: (result: number, names?: string[]) => void,
): void {
  const raw: string[] = [];
  let next = 0;
  const finish = (result: number): void => {
    core.releasedir(fh, new NativeReply(() => {}));
    const names = raw.map(textOf);
    // A name left out would be lost to whoever copies or deletes by the listing.
    if (result === 0 && names.includes(undefined)) done(-errno.EILSEQ);
    else done(result, names as string[]);
  };
  repeat((again) => {
    const before = raw.length;
    const page = new NativeListing(raw, next, ({ error }) => {
      next = page.next;
      if (error !== 0 || raw.length === before) finish(-error);
      else again();
    });
    core.readdir(nodeid, fh, next, caller, page, page);
  });
}
