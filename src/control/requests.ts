import { parseDuration } from '../base/duration.js';
import { Failure } from '../base/failure.js';
import { parseBudget } from '../keyring/leases/budgets.js';
import { ANY, type KnownCallers, parseVisibility, visibilityText } from '../keyring/leases/visibility.js';
import { parseWindow, type WindowTerms } from '../keyring/slots/windows.js';
import type { SecretInput } from '../libc/memory.js';
import type { Given } from './calls.js';
import type {
  ControlService,
  Key,
  LeaseTermsAsked,
  LockRequest,
  NewSlotRequest,
  SecretRequest,
} from './service.js';

/** What callers write, as the services take it: milliseconds, terms, keys. */

export const milliseconds = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : parseDuration(text);

export const windowOf = (text: string | undefined): WindowTerms | undefined =>
  text === undefined ? undefined : parseWindow(text);

/** A flag of a query: left out, it is not set. */
export const isSet = (flag: '1' | 'true' | '0' | 'false' | undefined): boolean =>
  flag === '1' || flag === 'true';

/** A moment that is still to come, as milliseconds since 1970. */
function future(text: string): number {
  const moment = Date.parse(text);
  if (moment > Date.now()) return moment;
  throw new Failure('usage', `until: ${text} is over`, { reason: 'moment_over' });
}

/** Where a scope's secret comes from: the body, shares that it has, or its parent. */
export function keyOf(from: 'parent' | 'share' | undefined, secret: SecretInput, terms = ''): Key {
  if (from === undefined) return secret;
  if (from === 'share') return { shares: secret, terms };
  if (secret.length === 0) return from;
  throw new Failure('usage', 'with=parent and a secret: one of them');
}

export function secretRequest(
  asked: Pick<Given<'addSlot'>, 'sealed' | 'shares' | 'threshold' | 'auto'>,
): SecretRequest {
  return { sealed: asked.sealed, shares: asked.shares, needed: asked.threshold, auto: isSet(asked.auto) };
}

export function newSlot({ slot, label, not_after, window, ...asked }: Given<'addSlot'>): NewSlotRequest {
  const notAfter = not_after === undefined ? undefined : Math.floor(future(not_after) / 1000);
  return { type: slot, label, notAfter, window: windowOf(window), ...secretRequest(asked) };
}

const ASKED = 'asked';

export function lockRequest({ reason, wait, fail_if_busy }: Given<'lockAll'>): LockRequest {
  return { reason: reason ?? ASKED, wait: milliseconds(wait), failIfBusy: isSet(fail_if_busy) };
}

export function leaseTerms(
  asked: Omit<Given<'createLease'>, 'scope' | 'wait'>,
  known: KnownCallers,
): LeaseTermsAsked {
  const { pid } = asked;
  return {
    purpose: asked.purpose ?? '',
    ttl: milliseconds(asked.ttl),
    maxTtl: milliseconds(asked.max_ttl),
    idle: milliseconds(asked.idle),
    until: asked.until === undefined ? undefined : future(asked.until),
    pid: pid === undefined ? undefined : known.process(pid === 'self' ? pid : Number(pid)).id,
    visibility: asked.visible_to === undefined ? ANY : parseVisibility(asked.visible_to, known),
    readOnly: isSet(asked.ro),
    budget: asked.budget === undefined ? undefined : parseBudget(asked.budget),
  };
}
/** @throws Failure usage where a lease is for some callers, and the transport does not know who calls */
export function refuseUnknownCallers(
  { knowsCallers }: ControlService,
  { visibility }: LeaseTermsAsked,
): void {
  if (visibility.length === 0 || knowsCallers) return;
  throw new Failure(
    'usage',
    'this transport does not know who calls: a scope is open for all or for nobody',
    { reason: 'transport_without_callers' },
  );
}

/** For whom and what a lease is, as people read it. */
export const termsText = ({ visibility, readOnly }: LeaseTermsAsked): string =>
  `${visibilityText(visibility)}, ${readOnly ? 'read-only' : 'to read and write'}`;
