/** Which test files run beside others, and in which order. Paths are those of run-tests.ts. */

/**
 * Those that nothing else may run beside, but each other: they compare moments with deadlines of a second or less, and
 * wait most of their time.
 */
const CLOCKS: readonly { readonly file: RegExp; readonly why: string }[] = [
  {
    file: /native-tests\/lock\/lease-end\./,
    why: 'reads must work until a deadline, and not half a second longer',
  },
  {
    file: /native-tests\/lock\/stalled/,
    why: "deadlines to 0.4 s, and the daemon's processor time while it waits",
  },
  { file: /native-tests\/daemon\/ends\./, why: 'a process must have ended within seconds' },
];

/** Measured to take longest, longest first: begun last, one of them would run alone at the end. */
const LONGEST: readonly string[] = [
  'transport/fuse-native',
  'slots/kinds',
  'daemon/mount-sources',
  'slots/shares',
  'cli/errors',
  'tamper/tamper',
  'cli/slot',
  'leases/ends',
  'lock/nesting',
  'slots/revocation',
  'slots/edited-rows',
  'leases/visibility',
  'daemon/locked-mount',
  'posix/posix',
  'leases/requests',
  'leases/exec',
  'filesystem/test/holes',
  'filesystem/test/faults',
  'cli/cli',
  'control/hostile',
  'filesystem/test/schedule',
  'worker/leases/lease-model',
];

/** Longest first, the others by their names. */
export function inOrder(files: readonly string[]): string[] {
  const place = (file: string): number => {
    const found = LONGEST.findIndex((name) => file.includes(`${name}.`));
    return found < 0 ? LONGEST.length : found;
  };
  return [...files].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

/** True: it watches the clock. */
export const watchesClock = (file: string): boolean => CLOCKS.some((row) => row.file.test(file));
