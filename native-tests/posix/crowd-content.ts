/** What the processes of crowd-child.ts write, and crowd.ts expects. */

export const PROCESSES = 4;
export const DIRECTORIES = 4;
export const STABLE = 20;
/** Bytes of a stripe: not a chunk's divisor, so that each chunk has all processes in it. */
export const STRIPE = 1_000;
export const STRIPES = 80;

export interface Tally {
  /** Names made less names taken away. */
  names: number;
  /** Records appended to the log. */
  records: number;
  /** Of each own stripe, the number that it holds. */
  stripes: Record<number, number>;
  /** The number of the last own replacement. */
  replaced: number;
  wrong: string[];
  done: Record<string, number>;
}

/** Content that says what it must be: a line with who, which and how long, then a pattern. */
export function content(who: number, number: number, length: number): Buffer {
  const head = `${who} ${number} ${length}\n`;
  const bytes = Buffer.alloc(Math.max(length, head.length), `${head.slice(0, -1)}.`, 'latin1');
  bytes.write(head, 0, 'latin1');
  return bytes;
}
/** Whether bytes are the whole of such content, or its beginning. */
export function isContent(bytes: string, whole: boolean): boolean {
  const match = /^(\d+) (\d+) (\d+)\n/.exec(bytes);
  if (match === null) return !whole && bytes.length < 30;
  const wanted = content(Number(match[1]), Number(match[2]), Number(match[3])).toString('latin1');
  return whole ? bytes === wanted : wanted.startsWith(bytes);
}
/** A record of the shared log: its length depends on its number. */
export function record(who: number, number: number): string {
  return `<${who} ${number} ${'r'.repeat((number * 37) % 900)}>\n`;
}
export function stripe(who: number, at: number, number: number): Buffer {
  return Buffer.alloc(STRIPE, `${who}:${at}:${number};`, 'latin1');
}
