import { errno } from '../../base/errno.js';
import { repeat } from '../../base/repeat.js';
import type { Caller, NodeId } from '../../filesystem/contract.js';
import type { Core } from '../../filesystem/core.js';
import { rawOf } from './convert.js';
import { NativeReply, type Outcome } from './reply.js';

const ROOT: NodeId = 1;

type Then = (error: number, chain: readonly NodeId[]) => void;
type Done = (result: number) => void;

/** Paths as nodes: each operation holds a reference to all that its path goes through, as the kernel does. */
export class Paths {
  readonly #core: Core;
  readonly #caller: Caller;
  readonly #enter: (act: () => void) => void;
  /** References of the last path: the next is often near, and a node without references is forgotten. */
  #held: readonly NodeId[] = [];
  /** Paths so far. */
  walked = 0;

  constructor(core: Core, caller: Caller, enter: (act: () => void) => void) {
    this.#core = core;
    this.#caller = caller;
    this.#enter = enter;
  }

  keep(chain: readonly NodeId[]): void {
    const before = this.#held;
    this.#held = chain;
    this.forget(before);
  }
  forget(chain: readonly NodeId[]): void {
    for (const nodeid of chain) if (nodeid !== ROOT) this.#core.nodes.forget(nodeid, 1);
  }

  /** Looks a path's components up, one after another. */
  #walk(parts: readonly string[], then: Then): void {
    const chain: NodeId[] = [ROOT];
    let index = 0;
    repeat((again) => {
      const part = parts[index++];
      if (part === undefined) {
        then(0, chain);
        return;
      }
      const reply = new NativeReply(({ error, nodeid }) => {
        if (nodeid === undefined) then(error, chain);
        else {
          chain.push(nodeid);
          again();
        }
      });
      this.#core.namespace.lookup(chain.at(-1) as NodeId, part, this.#caller, reply);
    });
  }

  /** What `path` names. `done` with -errno where that can't be said. */
  at(
    path: string,
    done: Done,
    act: (nodeid: NodeId, chain: readonly NodeId[], last: string) => void,
    parent = false,
  ): void {
    this.walked++;
    const raw = rawOf(path);
    if (raw === undefined) {
      done(-errno.EILSEQ);
      return;
    }
    const parts = raw.split('/').filter((part) => part !== '');
    const last = parent ? (parts.pop() ?? '') : '';
    this.#enter(() =>
      this.#walk(parts, (error, chain) => {
        if (error === 0) act(chain.at(-1) as NodeId, chain, last);
        else {
          this.keep(chain);
          done(-error);
        }
      }),
    );
  }
  /** The directory of `path`, and the name in it. */
  in(path: string, done: Done, act: (nodeid: NodeId, name: string, chain: readonly NodeId[]) => void): void {
    this.at(path, done, (nodeid, chain, name) => act(nodeid, name, chain), true);
  }
  /** The same, with a reference to what has that name, if anything: as the kernel holds one to what it takes away. */
  inHeld(
    path: string,
    done: Done,
    act: (nodeid: NodeId, name: string, chain: readonly NodeId[]) => void,
  ): void {
    this.in(path, done, (nodeid, name, chain) => {
      const reply = new NativeReply(({ nodeid: found }) =>
        act(nodeid, name, found === undefined ? chain : [...chain, found]),
      );
      this.#core.namespace.lookup(nodeid, name, this.#caller, reply);
    });
  }
  /** A reply that lets the path go, then says 0 or -errno. */
  reply(chain: readonly NodeId[], done: Done, then?: (outcome: Outcome) => void): NativeReply {
    return new NativeReply((outcome) => {
      this.keep(outcome.nodeid === undefined ? chain : [...chain, outcome.nodeid]);
      if (outcome.error !== 0 || then === undefined) done(-outcome.error);
      else then(outcome);
    });
  }
  /** For a second path that can't be walked: the first is let go too. */
  orForget(chain: readonly NodeId[], done: Done): Done {
    return (result) => {
      this.forget(chain);
      done(result);
    };
  }
}
