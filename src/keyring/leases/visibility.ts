import { Failure } from '../../base/failure.js';

/** One kind of caller for whom a lease opens its scope. */
export type VisibleTo =
  | { readonly kind: 'uid'; readonly id: number }
  | { readonly kind: 'gid'; readonly id: number }
  /** A process and what it started: ends with that process. `started`: in clock ticks since boot, as far as known. */
  | { readonly kind: 'tree'; readonly id: number; readonly started?: number }
  /** A control group and those below it, as in /proc/PID/cgroup (cgroups(7), version 2). */
  | { readonly kind: 'cgroup'; readonly path: string }
  /** A unit of systemd, by the last component of a control group that ends in its name. */
  | { readonly kind: 'unit'; readonly name: string };

/** Empty: any caller. Sorted, each once, so that equal ones have equal texts. */
export type Visibility = readonly VisibleTo[];

export const ANY: Visibility = [];

/** Judges what a text names on this host: each throws a failure that names what is not there. */
export interface KnownCallers {
  /** `self`: who asks; numbers count in his pid namespace, the result in ours. */
  process(named: number | 'self'): { readonly id: number; readonly started?: number };
  cgroup(path: string): void;
  unit(name: string): void;
}

const ID_LIMIT = 0xffff_ffff;

function refuse(part: string): never {
  throw new Failure('usage', `not a kind of caller: ${JSON.stringify(part)}`, {
    reason: 'caller_form',
  });
}

function parseOne(part: string, known: KnownCallers): VisibleTo {
  const at = part.indexOf(':');
  const kind = part.slice(0, at);
  const value = part.slice(at + 1);
  if (part === 'tree:self') return { kind: 'tree', ...known.process('self') };
  if (kind === 'uid' || kind === 'gid' || kind === 'tree') {
    const id = /^[0-9]{1,10}$/.test(value) ? Number(value) : ID_LIMIT;
    // -1 is nobody's id (chown(2)), and process 0 is a foreign one.
    if (id >= ID_LIMIT || (kind === 'tree' && id === 0)) refuse(part);
    return kind === 'tree' ? { kind, ...known.process(id) } : { kind, id };
  }
  if (kind === 'cgroup' && /^\/[^\0\n]*$/.test(value) && !value.split('/').includes('..')) {
    const path = value === '/' ? value : value.replace(/\/+$/, '');
    known.cgroup(path);
    return { kind, path };
  }
  if (kind === 'unit' && /^[\w@:.\\-]{1,255}\.(service|scope)$/.test(value)) {
    known.unit(value);
    return { kind, name: value };
  }
  return refuse(part);
}

function textOf(one: VisibleTo): string {
  if (one.kind === 'cgroup') return `cgroup:${one.path}`;
  return one.kind === 'unit' ? `unit:${one.name}` : `${one.kind}:${one.id}`;
}

/**
 * Reads `uid:N,gid:N,tree:PID|self,cgroup:PATH,unit:NAME` or `any` (PRODUCT.md).
 * @throws usage failures that name the part, and what `known` throws
 */
export function parseVisibility(text: string, known: KnownCallers): Visibility {
  if (text === 'any') return ANY;
  const parts = new Map(
    text.split(',').map((part) => {
      const one = parseOne(part, known);
      return [textOf(one), one];
    }),
  );
  return [...parts.keys()].sort().map((key) => parts.get(key) as VisibleTo);
}

/** As {@link parseVisibility} reads it; the same for equal ones. */
export function visibilityText(visibility: Visibility): string {
  return visibility.length === 0 ? 'any' : visibility.map(textOf).join(',');
}
