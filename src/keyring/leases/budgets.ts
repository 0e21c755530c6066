import type { Clock } from '../../base/clock.js';
import { Failure } from '../../base/failure.js';

/** How much may be taken out of a scope while a lease lives. */
export interface BudgetTerms {
  /** Bytes that READ requests decrypt; what the kernel has cached is not asked for again. */
  readonly bytes: number | undefined;
  /** Opens of files. */
  readonly files: number | undefined;
  /** In the lease's whole life, or within any 60 minutes. */
  readonly per: 'lease' | 'hour';
  /** Beyond it: refuse with EDQUOT until there is room again, or lock the scope. */
  readonly over: 'deny' | 'lock';
}

const UNITS = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const;

function amount(text: string, part: string): number {
  const match = /^([0-9]{1,15})([KMGT]?)$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2] as keyof typeof UNITS];
  if (Number.isSafeInteger(value)) return value;
  throw new Failure('usage', `not an amount: ${JSON.stringify(part)}`, {
    reason: 'amount_form',
  });
}

/** Reads `bytes:500M,files:20,per:hour,over:deny`: `per` is lease and `over` is lock where they are not said. */
export function parseBudget(text: string): BudgetTerms {
  let terms: BudgetTerms = { bytes: undefined, files: undefined, per: 'lease', over: 'lock' };
  const seen = new Set<string>();
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split(':', 2);
    const known =
      key === 'bytes' ||
      key === 'files' ||
      (key === 'per' && (value === 'lease' || value === 'hour')) ||
      (key === 'over' && (value === 'deny' || value === 'lock'));
    if (!known || seen.has(key)) {
      throw new Failure('usage', `not a part of a budget: ${JSON.stringify(part)}`, {
        reason: 'budget_form',
      });
    }
    seen.add(key);
    terms = { ...terms, [key]: key === 'bytes' || key === 'files' ? amount(value, part) : value };
  }
  if (terms.bytes === undefined && terms.files === undefined) {
    throw new Failure('usage', 'a budget counts bytes, files or both', { reason: 'budget_without_limit' });
  }
  return terms;
}

const MINUTE_MS = 60_000;
/** One more than an hour has: a minute that began before it counts until it is over. */
const MINUTES = 61;

/** A sum over the lease's life, or over the last 60 to 61 minutes (CLOCK_BOOTTIME). */
class Sum {
  readonly #minutes: Float64Array | undefined;
  #minute = Number.NEGATIVE_INFINITY;
  #total = 0;

  constructor(per: 'lease' | 'hour') {
    this.#minutes = per === 'hour' ? new Float64Array(MINUTES) : undefined;
  }
  total(now: number): number {
    const minutes = this.#minutes;
    if (minutes === undefined) return this.#total;
    const minute = Math.floor(now / MINUTE_MS);
    if (minute - this.#minute >= MINUTES) minutes.fill(0);
    else for (let at = this.#minute + 1; at <= minute; at++) minutes[at % MINUTES] = 0;
    this.#minute = Math.max(minute, this.#minute);
    return minutes.reduce((sum, value) => sum + value, 0);
  }
  add(now: number, value: number): void {
    this.total(now);
    if (this.#minutes === undefined) this.#total += value;
    else (this.#minutes[this.#minute % MINUTES] as number) += value;
  }
}

/** What one lease has spent. */
export class Budget {
  readonly terms: BudgetTerms;
  readonly #clock: Clock;
  readonly #bytes: Sum;
  readonly #files: Sum;
  /** Refused since there was room last: each time is told once. */
  spent = false;

  constructor(terms: BudgetTerms, clock: Clock) {
    this.terms = terms;
    this.#clock = clock;
    this.#bytes = new Sum(terms.per);
    this.#files = new Sum(terms.per);
  }

  get used(): { bytes: number; files: number } {
    const now = this.#clock.boottime();
    return { bytes: this.#bytes.total(now), files: this.#files.total(now) };
  }
  allows(bytes: number, files: number): boolean {
    const { terms } = this;
    const { used } = this;
    const room = (limit: number | undefined, of: number, more: number): boolean =>
      limit === undefined || more === 0 || of + more <= limit;
    return room(terms.bytes, used.bytes, bytes) && room(terms.files, used.files, files);
  }
  charge(bytes: number, files: number): void {
    const now = this.#clock.boottime();
    this.#bytes.add(now, bytes);
    this.#files.add(now, files);
    this.spent = false;
  }
}
