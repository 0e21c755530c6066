import { lstatSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What one request costs, in microseconds: lstat of names that do not exist in the root of the mount. Each name is
 * asked for once, so that no cache of absent names answers: each is one LOOKUP that reaches the daemon, which seals
 * the name and asks its backing store in vain. On ext4 it is the same call without a daemon: what node and the disk
 * file system take.
 */
export function roundTrip(root: string, count: number): number {
  const ask = (prefix: string, times: number): void => {
    for (let i = 0; i < times; i++) lstatSync(join(root, `${prefix}-${i}`), { throwIfNoEntry: false });
  };
  ask('warm-up', count / 10);
  const started = performance.now();
  ask('absent', count);
  return ((performance.now() - started) / count) * 1000;
}
