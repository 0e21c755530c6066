import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Vault } from '../support/mounted.js';
import { Comparer, Mismatch } from './comparer.js';
import { fresh } from './suite.js';

/** One seed on a vault of its own, in a scope that is locked and unlocked in between: `ok`, or what differed. */
export function compareOnce(seed: number, steps: number, ...options: string[]): string {
  const vault = new Vault({ mount: false });
  try {
    vault.mountIt(...options);
    const key = vault.createScope('scope');
    mkdirSync(vault.path('scope', 'files'));
    const comparer = new Comparer({
      control: fresh(vault.directory, 'control'),
      mount: vault.path('scope', 'files'),
      seed,
      steps,
      interlude: () => {
        vault.lock('scope');
        vault.unlock('scope', key);
      },
    });
    comparer.run();
    return 'ok';
  } catch (error) {
    if (error instanceof Mismatch) return error.message;
    throw error;
  } finally {
    vault.remove();
  }
}

/** As a program: `random.js SEED STEPS`. Exit status 1: a mismatch. */
if (process.argv[1]?.endsWith(join('posix', 'random.js')) === true) {
  const [seed, steps] = [Number(process.argv[2] ?? 1), Number(process.argv[3] ?? 10_000)];
  const said = compareOnce(seed, steps);
  process.stdout.write(`${said}\n`);
  process.exitCode = said === 'ok' ? 0 : 1;
}
