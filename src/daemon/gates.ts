import type { Caller, Gate } from '../filesystem/contract.js';
import type { Visibility } from '../keyring/visibility.js';
import { ancestry, cgroupOf, groupsOf, unitIn } from '../libc/processes.js';

/** An ancestor may end while we climb: its children are then another's. */
const CLIMBS = 8;

function isBelow(path: string, above: string): boolean {
  return above === '/' || path === above || path.startsWith(`${above}/`);
}

/** Whether a process is `root`, which began at `started`, or descends from it. */
function descends(pid: number, root: number, started: number): boolean {
  climbing: for (let climb = 0; climb < CLIMBS; climb++) {
    for (let at = pid; at > 0; ) {
      const here = ancestry(at);
      // It is waiting for our answer, so it exists; one above it may have ended just now.
      if (here === undefined) continue climbing;
      if (at === root) return here.started === started;
      at = here.parent;
    }
    return false;
  }
  return false;
}

/**
 * Who is let into a restricted scope. The caller sleeps until it is answered, so what proc(5) says of its thread is true
 * of nobody else; one of a foreign pid namespace (pid 0) is known by uid and gid alone. Undefined: for any caller.
 */
export function gateFor(visibility: Visibility): Gate | undefined {
  if (visibility.length === 0) return undefined;
  const started = new Map<number, number>();
  for (const one of visibility)
    if (one.kind === 'tree') started.set(one.id, ancestry(one.id)?.started ?? Number.NaN);
  return {
    admits: ({ uid, gid, pid }: Caller) => {
      let group: string | undefined;
      return visibility.some((one) => {
        switch (one.kind) {
          case 'uid':
            return uid === one.id;
          case 'gid':
            return gid === one.id || (pid > 0 && groupsOf(pid).includes(one.id));
          case 'tree':
            return pid > 0 && descends(pid, one.id, started.get(one.id) as number);
          default:
            if (pid <= 0) return false;
            group ??= cgroupOf(pid) ?? '';
            return one.kind === 'cgroup' ? isBelow(group, one.path) : unitIn(group) === one.name;
        }
      });
    },
  };
}
