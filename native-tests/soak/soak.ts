import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SoakLoad } from './load.js';

/**
 * `npm run soak -- --seconds 3600 [--pause MS]`: a mounted vault under mixed load (load.ts) for so long. Nothing may fail,
 * and the daemon stays one process; its memory is printed now and then. `--pause`: milliseconds between rounds.
 */
export interface Soaked {
  readonly rounds: number;
  readonly seconds: number;
  readonly failures: readonly string[];
  /** VmHWM of the daemon. */
  readonly peakMiB: number;
}

const MIB = 1024;
/** How often memory is printed: an hour has 60 lines. */
const LOOKS = 60;
const SELDOM_MS = 5_000;

function memory(pid: number): { resident: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name: string): number =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / MIB);
  return { resident: of('VmRSS'), peak: of('VmHWM') };
}

export async function soak(
  { seconds, pause }: { seconds: number; pause: number },
  say: (line: string) => void,
): Promise<Soaked> {
  const load = new SoakLoad();
  const started = Date.now();
  const elapsed = (): number => (Date.now() - started) / 1000;
  let interrupted = false;
  const interrupt = (): void => {
    interrupted = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupt);
  let peakMiB = 0;
  let said = 0;
  let looked = 0;
  const look = (): void => {
    const { resident, peak } = memory(load.vault.pid);
    peakMiB = Math.max(peakMiB, peak);
    if (Date.now() - looked < Math.max(SELDOM_MS, (seconds * 1000) / LOOKS)) return;
    looked = Date.now();
    say(
      `${elapsed().toFixed(0)} s: ${load.rounds} rounds, ${load.failures.length} failures, resident ${resident} MiB, peak ${peak} MiB`,
    );
  };
  try {
    load.start();
    while (elapsed() < seconds && !interrupted) {
      await load.round();
      look();
      for (const failure of load.failures.slice(said)) say(`FAILED ${failure}`);
      said = load.failures.length;
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    }
  } catch (error) {
    // Without its daemon no round can go on.
    load.failures.push(`round ${load.rounds}: ${(error as Error).message}`);
  } finally {
    await load.end();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, interrupt);
  }
  for (const failure of load.failures.slice(said)) say(`FAILED ${failure}`);
  return { rounds: load.rounds, seconds: elapsed(), failures: load.failures, peakMiB };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { seconds: { type: 'string', default: '60' }, pause: { type: 'string', default: '0' } },
  });
  const asked = { seconds: Number(values.seconds), pause: Number(values.pause) };
  if (!(asked.seconds > 0) || !(asked.pause >= 0)) {
    console.error('usage: soak --seconds N [--pause MS]');
    process.exit(2);
  }
  const done = await soak(asked, (line) => console.log(line));
  console.log(
    `node ${process.version}: ${done.rounds} rounds in ${done.seconds.toFixed(0)} s, ${done.failures.length} failures, peak memory ${done.peakMiB} MiB`,
  );
  process.exit(done.failures.length === 0 && done.rounds > 0 ? 0 : 1);
}
