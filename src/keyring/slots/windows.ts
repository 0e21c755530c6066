import { Failure } from '../../base/failure.js';

/** When a slot may open its scope: at a time of day in a time zone, for so long, on some days of the week. */
export interface WindowTerms {
  /** ISO 8601 days of the week on which it opens, 1 (Monday) to 7, in order; all of them: every day. */
  readonly days: readonly number[];
  readonly hour: number;
  readonly minute: number;
  /** Of elapsed time, in minutes: at most a day. */
  readonly minutes: number;
  /** A name of the IANA database. */
  readonly zone: string;
  /** How often it may open the scope each time; undefined: as often as one likes. */
  readonly uses: number | undefined;
}

/** Milliseconds since 1970; `closes` is the first moment after it. */
export interface OpenWindow {
  readonly opens: number;
  readonly closes: number;
}

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const EVERY_DAY = [1, 2, 3, 4, 5, 6, 7];
const MOST_MINUTES = 1440;

const wrong = (part: string): Failure =>
  new Failure('usage', `not a part of a window: ${JSON.stringify(part)}`, { reason: 'window_form' });

function parseDays(part: string, text: string): number[] {
  const found = new Set<number>();
  for (const range of text.split('+')) {
    const [first, last = first, ...more] = range
      .split('-')
      .map((day) => (DAYS as readonly string[]).indexOf(day) + 1);
    if (!first || !last || more.length > 0) throw wrong(part);
    // sat-mon goes over the week's end.
    for (let day = first; ; day = (day % 7) + 1) {
      found.add(day);
      if (day === last) break;
    }
  }
  return [...found].sort((a, b) => a - b);
}

function parseZone(text: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone;
  } catch {
    throw new Failure('usage', `there is no time zone ${JSON.stringify(text)}`, {
      reason: 'time_zone_form',
    });
  }
}

/** The time zone of this machine. */
export const localZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Reads `at:02:00,for:15m,days:mon-fri,zone:Europe/Berlin,uses:1`: every day, in UTC, without a count where they are not said. */
export function parseWindow(text: string): WindowTerms {
  const parts = new Map<string, string>();
  for (const part of text.split(',')) {
    const at = part.indexOf(':');
    const key = part.slice(0, Math.max(at, 0));
    if (!['at', 'for', 'days', 'zone', 'uses'].includes(key) || parts.has(key)) throw wrong(part);
    parts.set(key, part.slice(at + 1));
  }
  const time = /^([01][0-9]|2[0-3]):([0-5][0-9])$/.exec(parts.get('at') ?? '');
  if (time === null) throw wrong(`at:${parts.get('at') ?? ''}`);
  const length = /^([0-9]{1,4})([mh])$/.exec(parts.get('for') ?? '');
  const minutes = Number(length?.[1]) * (length?.[2] === 'h' ? 60 : 1);
  if (!(minutes >= 1 && minutes <= MOST_MINUTES)) throw wrong(`for:${parts.get('for') ?? ''}`);
  const uses = parts.get('uses');
  if (uses !== undefined && !/^[1-9][0-9]{0,5}$/.test(uses)) throw wrong(`uses:${uses}`);
  const days = parts.get('days');
  return {
    days: days === undefined ? EVERY_DAY : parseDays(`days:${days}`, days),
    hour: Number(time[1]),
    minute: Number(time[2]),
    minutes,
    zone: parseZone(parts.get('zone') ?? 'UTC'),
    uses: uses === undefined ? undefined : Number(uses),
  };
}

const two = (value: number): string => String(value).padStart(2, '0');

/** As {@link parseWindow} reads it: its one form, which is stored and shown. */
export function windowText({ days, hour, minute, minutes, zone, uses }: WindowTerms): string {
  const names = days.map((day) => DAYS[day - 1]).join('+');
  return [
    `at:${two(hour)}:${two(minute)}`,
    `for:${minutes}m`,
    ...(days.length === EVERY_DAY.length ? [] : [`days:${names}`]),
    `zone:${zone}`,
    ...(uses === undefined ? [] : [`uses:${uses}`]),
  ].join(',');
}

/**
 * The times around a moment at which a window opens, in order. A time of day that a clock change leaves out is taken as
 * much later as the clock was set forward, one that comes twice the first time ("compatible", RFC 5545 and Temporal): so it
 * opens once a day, and stays open for its length of elapsed time.
 */
async function around(terms: WindowTerms, now: number): Promise<OpenWindow[]> {
  // Takes 75 ms to load: nobody without windows waits for it.
  const { Temporal } = await import('temporal-polyfill');
  const { days, hour, minute, minutes, zone: timeZone } = terms;
  const today = Temporal.Instant.fromEpochMilliseconds(Math.floor(now))
    .toZonedDateTimeISO(timeZone)
    .toPlainDate();
  const found: OpenWindow[] = [];
  for (let offset = -2; offset <= 8; offset++) {
    const date = today.add({ days: offset });
    if (!days.includes(date.dayOfWeek)) continue;
    const time = { hour, minute };
    const opens = date.toPlainDateTime(time).toZonedDateTime(timeZone).epochMilliseconds;
    found.push({ opens, closes: opens + minutes * 60_000 });
  }
  return found;
}

/** The window that is open at a moment (ms since 1970), and otherwise when the next one opens. */
export async function windowAt(
  terms: WindowTerms,
  now: number,
): Promise<{ open: OpenWindow | undefined; next: number }> {
  const all = await around(terms, now);
  return {
    open: all.find(({ opens, closes }) => opens <= now && now < closes),
    next: (all.find(({ opens }) => opens > now) as OpenWindow).opens,
  };
}
