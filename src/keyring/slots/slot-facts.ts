import { Failure } from '../../base/failure.js';
import { costIsSane, type ScryptCost } from '../../crypto/stretch.js';
import type { SlotRow } from '../../store/rows.js';
import { parseWindow, type WindowTerms, windowText } from './windows.js';

/** What of a slot is public, beside its type. Authentic where the slot list vouches for its row. */
export interface SlotFacts {
  /** It opens nothing after this moment: seconds since 1970, by this machine's clock. */
  readonly notAfter?: number | undefined;
  /** age: the slot's secret as an age file, in base64, for the recipients whom its maker chose. */
  readonly sealed?: string | undefined;
  /** parent: from which epoch of the parent scope its secret is derived. */
  readonly parentEpoch?: number | undefined;
  /** When it may open its scope; always where there is none. */
  readonly window?: WindowTerms | undefined;
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

/** Base64 of an age file with some recipients, the post-quantum ones of 1.5 KiB each included. */
const SEALED = /^[A-Za-z0-9+/]{1,16384}={0,2}$/;
const BASE64 = /^[A-Za-z0-9+/]{1,1024}={0,2}$/;

export function encodeParameters(parameters: SlotParameters): string {
  const { salt, cost, notAfter, window, sealed, parentEpoch, set, needed, tags } = parameters;
  return JSON.stringify({
    salt: salt.toString('base64'),
    scrypt: cost,
    not_after: notAfter,
    window: window === undefined ? undefined : windowText(window),
    sealed,
    parent_epoch: parentEpoch,
    set,
    needed,
    tags,
  });
}

const whole = (value: unknown): value is number | undefined =>
  value === undefined || (Number.isSafeInteger(value) && (value as number) > 0);
const text = (value: unknown, pattern: RegExp): value is string | undefined =>
  value === undefined || (typeof value === 'string' && pattern.test(value));

/** @throws Failure integrity where they are not what a slot of its type has */
export function readParameters(slot: SlotRow): SlotParameters {
  const damaged = (): Failure => new Failure('integrity', `slot ${slot.number}: its parameters are damaged`);
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(slot.parameters) as typeof parsed;
  } catch {
    throw damaged();
  }
  const { scrypt, not_after: notAfter, sealed, parent_epoch: parentEpoch, set, needed, tags } = parsed;
  const salt = typeof parsed.salt === 'string' ? Buffer.from(parsed.salt, 'base64') : undefined;
  const cost = scrypt as ScryptCost | undefined;
  if (salt?.length !== 32 || !whole(notAfter) || !whole(parentEpoch) || !whole(needed)) throw damaged();
  if (slot.type === 'passphrase' && (cost === undefined || !costIsSane(cost))) throw damaged();
  if (!text(sealed, SEALED) || !text(set, /^[0-9a-f]{16}$/) || !text(tags, BASE64)) throw damaged();
  if ((slot.type === 'age') !== (sealed !== undefined)) throw damaged();
  if ((slot.type === 'parent') !== (parentEpoch !== undefined)) throw damaged();
  if ((slot.type === 'split' || slot.type === 'threshold') !== (set !== undefined)) throw damaged();
  const shared = slot.type === 'threshold';
  if (shared !== (needed !== undefined) || shared !== (tags !== undefined)) throw damaged();
  const count = tags === undefined ? 0 : tagsOf(tags).length;
  if (shared && ((needed as number) < 2 || (needed as number) > count)) throw damaged();
  if (!text(parsed.window, /^/)) throw damaged();
  let window: WindowTerms | undefined;
  try {
    window = parsed.window === undefined ? undefined : parseWindow(parsed.window);
  } catch {
    throw damaged();
  }
  return { salt, cost, notAfter, window, sealed, parentEpoch, set, needed, tags };
}

/** The tags of a threshold slot's shares 1 to n. */
export function tagsOf(tags: string): Buffer[] {
  const bytes = Buffer.from(tags, 'base64');
  return Array.from({ length: Math.floor(bytes.length / 16) }, (_, i) => bytes.subarray(16 * i, 16 * i + 16));
}
