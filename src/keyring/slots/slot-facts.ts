import { Failure } from '../../base/failure.js';
import { costIsSane, type ScryptCost } from '../../crypto/stretch.js';
import type { SlotRow } from '../../store/rows.js';
import { type KindFact, kindOf } from './slot-kinds.js';
import { parseWindow, type WindowTerms, windowText } from './windows.js';

/** When a slot may open its scope: a slot of (nearly) every kind may have these. */
export interface SlotLimits {
  /** The moment from which on it opens nothing: seconds since 1970, by this machine's clock. */
  readonly notAfter?: number | undefined;
  /** When it may open its scope; always where there is none. */
  readonly window?: WindowTerms | undefined;
}
/** What of a slot is public, beside its type. Authentic where the slot list vouches for its row. */
export interface SlotFacts extends SlotLimits {
  /** age: the slot's secret as an age file, in base64, for the recipients whom its maker chose. */
  readonly sealed?: string | undefined;
  /** parent: from which epoch of the parent scope its secret is derived. */
  readonly parentEpoch?: number | undefined;
  /** parent: the scope opens with its parent, without being asked for. */
  readonly auto?: true | undefined;
  /** split, threshold: 16 hexadecimal digits that its shares repeat. */
  readonly set?: string | undefined;
  /** threshold: how many shares open it. */
  readonly needed?: number | undefined;
  /** threshold: the tags of all its shares, 16 bytes each, in base64. */
  readonly tags?: string | undefined;
}
export interface SlotParameters extends SlotFacts {
  readonly salt: Buffer;
  readonly cost: ScryptCost | undefined;
}

const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0;
const isText =
  (pattern: RegExp) =>
  (value: unknown): boolean =>
    typeof value === 'string' && pattern.test(value);
/** The facts that slots of some kinds have: by what name each is stored, and what it may be. In the order of the JSON. */
const kindFacts = {
  /** Base64 of an age file with some recipients, the post-quantum ones of 1.5 KiB each included. */
  sealed: { name: 'sealed', is: isText(/^[A-Za-z0-9+/]{1,16384}={0,2}$/) },
  parentEpoch: { name: 'parent_epoch', is: isWhole },
  set: { name: 'set', is: isText(/^[0-9a-f]{16}$/) },
  needed: { name: 'needed', is: isWhole },
  tags: { name: 'tags', is: isText(/^[A-Za-z0-9+/]{1,1024}={0,2}$/) },
} as const satisfies Record<KindFact, { name: string; is: (value: unknown) => boolean }>;
const kindFactNames = Object.keys(kindFacts) as readonly KindFact[];

/** What {@link encodeParameters} makes of `auto`: by it a store finds such slots. */
export const AUTO_TEXT = '"auto":true';

export function encodeParameters(parameters: SlotParameters): string {
  const { salt, cost, notAfter, window } = parameters;
  return JSON.stringify({
    salt: salt.toString('base64'),
    scrypt: cost,
    not_after: notAfter,
    window: window === undefined ? undefined : windowText(window),
    auto: parameters.auto,
    ...Object.fromEntries(kindFactNames.map((fact) => [kindFacts[fact].name, parameters[fact]])),
  });
}

/** @throws Failure integrity where they are not what a slot of its type has */
export function readParameters(slot: SlotRow): SlotParameters {
  try {
    const parameters = read(slot);
    if (parameters !== undefined) return parameters;
  } catch {
    // No JSON, or a window that is none.
  }
  throw new Failure('integrity', `slot ${slot.number}: its parameters are damaged`);
}

function read(slot: SlotRow): SlotParameters | undefined {
  const kind = kindOf(slot);
  const parsed = JSON.parse(slot.parameters) as Record<string, unknown>;
  const { scrypt, not_after: notAfter, window, auto } = parsed;
  const salt = typeof parsed.salt === 'string' ? Buffer.from(parsed.salt, 'base64') : undefined;
  const cost = scrypt as ScryptCost | undefined;
  if (kind === undefined || salt?.length !== 32) return undefined;
  if (kind.input.stretched && (cost === undefined || !costIsSane(cost))) return undefined;
  if (notAfter !== undefined && !isWhole(notAfter)) return undefined;
  if (window !== undefined && typeof window !== 'string') return undefined;
  if (auto !== undefined && (auto !== true || kind.origin !== 'parent')) return undefined;
  const facts: Partial<Record<KindFact, unknown>> = {};
  for (const fact of kindFactNames) {
    const { name, is } = kindFacts[fact];
    const value = parsed[name];
    if (value !== undefined && !is(value)) return undefined;
    if (kind.facts.includes(fact) !== (value !== undefined)) return undefined;
    facts[fact] = value;
  }
  const own = facts as Pick<SlotFacts, KindFact>;
  const { needed, tags = '' } = own;
  if (needed !== undefined && (needed < 2 || needed > tagsOf(tags).length)) return undefined;
  return {
    salt,
    cost,
    notAfter: notAfter as number | undefined,
    window: window === undefined ? undefined : parseWindow(window),
    auto,
    ...own,
  };
}

/** The tags of a threshold slot's shares 1 to n. */
export function tagsOf(tags: string): Buffer[] {
  const bytes = Buffer.from(tags, 'base64');
  return Array.from({ length: Math.floor(bytes.length / 16) }, (_, i) => bytes.subarray(16 * i, 16 * i + 16));
}

/** What a stored slot's parameters say; undefined where they are damaged. */
export function factsOf(slot: SlotRow): SlotFacts | undefined {
  try {
    return readParameters(slot);
  } catch {
    return undefined;
  }
}
