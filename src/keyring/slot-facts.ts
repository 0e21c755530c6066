import { Failure } from '../base/failure.js';
import { costIsSane, type ScryptCost } from '../crypto/stretch.js';
import type { SlotRow } from '../store/rows.js';

/** What of a slot is public, beside its type. Authentic where the slot list vouches for its row. */
export interface SlotFacts {
  /** It opens nothing after this moment: seconds since 1970, by this machine's clock. */
  readonly notAfter?: number | undefined;
  /** age: the slot's secret as an age file, in base64, for the recipients whom its maker chose. */
  readonly sealed?: string | undefined;
  /** parent: from which epoch of the parent scope its secret is derived. */
  readonly parentEpoch?: number | undefined;
}
export interface SlotParameters extends SlotFacts {
  readonly salt: Buffer;
  readonly cost: ScryptCost | undefined;
}

/** Base64 of an age file with some recipients, the post-quantum ones of 1.5 KiB each included. */
const SEALED = /^[A-Za-z0-9+/]{1,16384}={0,2}$/;

export function isSealed(text: string): boolean {
  return SEALED.test(text);
}

export function encodeParameters({ salt, cost, notAfter, sealed, parentEpoch }: SlotParameters): string {
  return JSON.stringify({
    salt: salt.toString('base64'),
    scrypt: cost,
    not_after: notAfter,
    sealed,
    parent_epoch: parentEpoch,
  });
}

/** @throws Failure integrity where they are not what a slot of its type has */
export function readParameters(slot: SlotRow): SlotParameters {
  const damaged = (): Failure => new Failure('integrity', `slot ${slot.number}: its parameters are damaged`);
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(slot.parameters) as typeof parsed;
  } catch {
    throw damaged();
  }
  const { salt: text, scrypt, not_after: notAfter, sealed, parent_epoch: parentEpoch } = parsed;
  const salt = typeof text === 'string' ? Buffer.from(text, 'base64') : undefined;
  const cost = scrypt as ScryptCost | undefined;
  const whole = (value: unknown): value is number | undefined =>
    value === undefined || (Number.isSafeInteger(value) && (value as number) > 0);
  if (salt?.length !== 32 || !whole(notAfter) || !whole(parentEpoch)) throw damaged();
  if (slot.type === 'passphrase' && (cost === undefined || !costIsSane(cost))) throw damaged();
  if (sealed !== undefined && (typeof sealed !== 'string' || !isSealed(sealed))) throw damaged();
  if ((slot.type === 'age') !== (sealed !== undefined)) throw damaged();
  if ((slot.type === 'parent') !== (parentEpoch !== undefined)) throw damaged();
  return { salt, cost, notAfter, sealed, parentEpoch };
}
