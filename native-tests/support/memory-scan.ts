import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Where markers lie in a process's memory: how often each was found, over all mappings that root can read. */
export function scan(pid: number, markers: readonly Buffer[]): number[] {
  const found = markers.map(() => 0);
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  const step = 4 << 20;
  const overlap = 64;
  const window = Buffer.alloc(step + overlap);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (r)/.exec(line);
    if (match === null || line.includes('[vvar') || line.includes('[vsyscall]')) continue;
    const [from, to] = [Number.parseInt(match[1] as string, 16), Number.parseInt(match[2] as string, 16)];
    // The inode table is a sparse mapping of half a gigabyte: reading it all is bounded, and it is zeros.
    for (let at = from; at < to; at += step) {
      let got: number;
      try {
        got = readSync(fd, window, 0, Math.min(window.length, to - at), at);
      } catch {
        // memfd_secret, or a hole.
        continue;
      }
      count(window, got, step, markers, found);
    }
  }
  closeSync(fd);
  return found;
}

/** How often markers lie in a file. */
export function scanFile(path: string, markers: readonly Buffer[]): number[] {
  const found = markers.map(() => 0);
  const fd = openSync(path, 'r');
  const step = 4 << 20;
  const overlap = 64;
  const window = Buffer.alloc(step + overlap);
  for (let at = 0; ; at += step) {
    const got = readSync(fd, window, 0, window.length, at);
    if (got === 0) break;
    count(window, got, step, markers, found);
  }
  closeSync(fd);
  return found;
}

/** Adds the markers that begin in the first `step` of `got` bytes. */
function count(window: Buffer, got: number, step: number, markers: readonly Buffer[], found: number[]): void {
  markers.forEach((marker, i) => {
    for (let hit = window.indexOf(marker); hit >= 0 && hit < Math.min(got, step); ) {
      if (hit + marker.length <= got) found[i] = (found[i] as number) + 1;
      hit = window.indexOf(marker, hit + 1);
    }
  });
  window.fill(0, 0, got);
}
