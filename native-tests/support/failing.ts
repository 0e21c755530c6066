import type { Test } from 'tap';
import { scopefs, Vault } from './mounted.js';

/** What goes wrong, as a script sees it: exit status, code, a text that names the thing and a hint. */
export interface Failing {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly exit_status: number;
}

/** Runs it with --json and for people: both must agree. */
export function fails(
  t: Test,
  args: string[],
  exit: number,
  code: string,
  expected: { hint?: boolean; input?: string } = {},
): Failing {
  const options = { input: expected.input ?? '' };
  const machine = scopefs([...args, '--json'], options);
  const label = `scopefs ${args[0]}: ${code}`;
  t.equal(machine.status, exit, `${label}: exit ${exit} (${machine.stderr})`);
  t.equal(machine.stdout, '', `${label}: nothing on standard output`);
  let error = {} as Failing;
  try {
    ({ error } = JSON.parse(machine.stderr) as { error: Failing });
  } catch {
    t.fail(`${label}: not JSON: ${machine.stderr}`);
  }
  t.match(error, { code, exit_status: exit }, label);
  if (expected.hint !== false) t.type(error.hint, 'string', `${label}: a hint`);
  const human = scopefs(args, options);
  t.equal(human.status, exit, `${label}: the same without --json`);
  t.ok(human.stderr.includes(error.message ?? '?'), `${label}: the same text for people`);
  if (error.hint !== undefined) t.ok(human.stderr.includes(`hint: ${error.hint}`), `${label}: and the hint`);
  return error;
}

export function freshVault(t: Test, mount = false): Vault {
  const vault = new Vault({ mount });
  t.teardown(() => vault.remove());
  return vault;
}
/** The arguments that mount a vault. */
export const mounting = (vault: Vault, key = vault.keyFile, at = vault.mount): string[] => [
  'mount',
  vault.vault,
  at,
  '--with',
  `file:${key}`,
  '--host',
  `unix://${vault.socket}`,
];
