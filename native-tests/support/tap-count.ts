/** A process's TAP output, as tap writes it without its runner: assertions stand below their test's line. */
export interface TapCount {
  readonly passed: number;
  readonly failed: number;
  /** The lines of each failed assertion, with its diagnosis. */
  readonly failures: readonly string[];
  /** It ran to its end: the plan is there, which tap writes last. */
  readonly complete: boolean;
}

/** An assertion's indentation: the tests' own lines have none. */
const ASSERTION = 4;
/** Lines of a failed assertion's diagnosis. */
const DIAGNOSIS = 25;

/** Counts the assertions of TAP output. */
export function countTap(tap: string): TapCount {
  const lines = tap.split('\n');
  let passed = 0;
  const failures: string[] = [];
  for (const [at, line] of lines.entries()) {
    const match = /^(\s*)(not )?ok \d+(?: - (.*))?$/.exec(line);
    // A subtest's own line, which has its time, repeats its assertions.
    if (match === null || (match[1] as string).length < ASSERTION || / # time=/.test(line)) continue;
    if (match[2] === undefined) passed++;
    else failures.push(lines.slice(at, at + DIAGNOSIS).join('\n'));
  }
  return {
    passed,
    failed: failures.length,
    failures,
    complete: lines.some((line) => /^1\.\.\d+/.test(line)),
  };
}
