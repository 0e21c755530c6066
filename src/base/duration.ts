import { Failure } from './failure.js';

const unit = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Ten years: beyond it a date is not one that people or JSON can show. */
const LONGEST_MS = 3650 * unit.d;

/** Reads `30s 15m 2h 1d` (PRODUCT.md, DUR) as milliseconds; anything else is a usage failure that says so. */
export function parseDuration(text: string): number {
  const match = /^([0-9]{1,9})([smhd])$/.exec(text);
  const milliseconds = match === null ? 0 : Number(match[1]) * unit[match[2] as keyof typeof unit];
  if (milliseconds <= 0 || milliseconds > LONGEST_MS) {
    throw new Failure('usage', `not a duration: ${JSON.stringify(text)}`, {
      reason: 'duration_form',
    });
  }
  return milliseconds;
}
