import type { Caller, Gate } from '../../filesystem/contract.js';
import type { Visibility } from '../../keyring/leases/visibility.js';
import { ancestry, cgroupOf, groupsOf, processOf, unitIn } from '../../libc/processes.js';

/** What one request may cost: looks at proc(5), some 10 us each. Deeper trees are strangers. */
const MOST_LOOKS = 128;

function isBelow(path: string, above: string): boolean {
  return above === '/' || path === above || path.startsWith(`${above}/`);
}

/** Whether a thread's process is one of `roots` (pid and when it began), or descends from one. */
function descends(tid: number, roots: ReadonlyMap<number, number>): boolean {
  const own = processOf(tid);
  const oldest = Math.min(...roots.values());
  let looks = 0;
  // The caller waits for our answer, so it exists; one above it may end while we climb, and its children are another's then.
  climbing: while (own !== undefined && looks < MOST_LOOKS) {
    let younger = Number.POSITIVE_INFINITY;
    for (let at = own; at > 0 && looks < MOST_LOOKS; ) {
      looks++;
      const here = ancestry(at);
      // Gone, or its pid is another process's now: nobody is older than his parent.
      if (here === undefined || here.started > younger) continue climbing;
      if (roots.get(at) === here.started) return true;
      if (here.started < oldest) return false;
      younger = here.started;
      at = here.parent;
    }
    return false;
  }
  return false;
}

/**
 * The callers that are let into a restricted scope. Each sleeps until it is answered, so what proc(5) says of its thread is true
 * of nobody else; one of a foreign pid namespace (pid 0) is known by uid and gid alone. Undefined: for any caller.
 */
export function gateFor(visibility: Visibility): Gate | undefined {
  if (visibility.length === 0) return undefined;
  const started = new Map<number, number>();
  for (const one of visibility)
    if (one.kind === 'tree') started.set(one.id, one.started ?? ancestry(one.id)?.started ?? Number.NaN);
  return {
    admits: ({ uid, gid, pid }: Caller) => {
      let group: string | undefined;
      let groups: number[] | undefined;
      let tree: boolean | undefined;
      return visibility.some((one) => {
        switch (one.kind) {
          case 'uid':
            return uid === one.id;
          case 'gid':
            if (gid === one.id) return true;
            groups ??= pid > 0 ? groupsOf(pid) : [];
            return groups.includes(one.id);
          case 'tree':
            // All trees at once.
            tree ??= pid > 0 && descends(pid, started);
            return tree;
          default:
            if (pid <= 0) return false;
            group ??= cgroupOf(pid) ?? '';
            return one.kind === 'cgroup' ? isBelow(group, one.path) : unitIn(group) === one.name;
        }
      });
    },
  };
}
