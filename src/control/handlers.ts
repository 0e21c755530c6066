import type { Socket } from 'node:net';
import { parseDuration } from '../base/duration.js';
import type { SecretInput } from '../libc/memory.js';
import { callersOf } from './callers.js';
import type { Given, Reply, SecretRoute } from './calls.js';
import { heldLease } from './held-lease.js';
import { openApi } from './openapi.js';
import {
  isSet,
  keyOf,
  leaseTerms,
  lockRequest,
  milliseconds,
  newSlot,
  refuseUnknownCallers,
  secretRequest,
  termsText,
  windowOf,
} from './requests.js';
import type { RouteName } from './routes.js';
import type { ControlService, Issued, Peer } from './service.js';

/** The process that asks, and the body of routes that have one. */
export interface Caller<Secret> {
  readonly peer: Peer;
  readonly socket: Socket;
  readonly secret: Secret;
  /** Calls `undo` where the answer can't be given any more: whoever asked is gone. */
  readonly unanswered: (undo: () => void) => void;
}
type Answer<T> = T | Issued<T> | Response;
type HandlerOf<N extends RouteName> = (
  service: ControlService,
  asked: Given<N>,
  caller: Caller<N extends SecretRoute ? SecretInput : undefined>,
) => Answer<Reply<N>> | Promise<Answer<Reply<N>>>;

const AUDIT_ROWS = 100;

/** A lease whose asker is gone before its answer is nobody's: it would have no end. */
function endUnanswered(
  { leases }: ControlService,
  lease: string,
  { peer, unanswered }: Caller<unknown>,
): void {
  // It may have ended already.
  unanswered(() => void leases.end(lease, peer, { reason: 'connection', withdrawn: true }).catch(() => {}));
}

/** What each route does, with what it was asked. `asked.scope` is taken last: it fails where there is no such scope. */
export const handlers: { readonly [N in RouteName]: HandlerOf<N> } = {
  openapi: () => openApi('1') as Reply<'openapi'>,
  version: (service) => service.version(),
  unmount: async (service) => {
    await service.unmount();
    return { unmounted: true };
  },

  scopes: ({ scopes }) => scopes.all(),
  scope: ({ scopes }, { scope }) => scopes.one(scope),
  createScope: async (service, { path, slot, ...asked }, caller) => {
    const { peer, socket, secret } = caller;
    const { sealed, shares, threshold, auto, ...rest } = asked;
    const terms = leaseTerms(rest, callersOf(peer, socket));
    refuseUnknownCallers(service, terms);
    const wanted = { type: slot, ...secretRequest({ sealed, shares, threshold, auto }) };
    const made = await service.scopes.create(path, wanted, secret, terms, peer);
    endUnanswered(service, made.view.lease, caller);
    return made;
  },
  shred: ({ scopes }, { scope, yes }, { peer }) => scopes.shred(scope, yes, peer),
  holders: ({ scopes }, { scope }) => scopes.holders(scope),
  lock: ({ locks }, asked) => {
    const request = lockRequest(asked);
    return locks.lock(asked.scope, request);
  },
  lockAll: ({ locks }, asked) => locks.lockAll(lockRequest(asked)),

  leases: ({ leases }) => leases.all(),
  lease: ({ leases }, { lease }) => leases.one(lease),
  createLease: async (service, asked, caller) => {
    const { peer, socket, secret } = caller;
    const terms = leaseTerms(asked, callersOf(peer, socket));
    const key = keyOf(asked.with, secret, termsText(terms));
    refuseUnknownCallers(service, terms);
    const scope = service.scopes.resolve(asked.scope);
    const request = { scope, wait: milliseconds(asked.wait), ...terms };
    if (isSet(asked.hold)) return heldLease(service.leases, request, key, peer, socket);
    const lease = await service.leases.create(request, key, peer);
    endUnanswered(service, lease.id, caller);
    return lease;
  },
  changeLease: ({ leases }, { lease, ttl }, { peer }) => leases.change(lease, parseDuration(ttl), peer),
  endLease: ({ leases }, { lease, withdrawn }, { peer }) =>
    leases.end(lease, peer, { reason: 'revoked', withdrawn: isSet(withdrawn) }),

  slots: ({ slots }, { scope }) => slots.list(scope),
  testSlot: ({ slots }, asked, { peer, secret }) => {
    const key = keyOf(asked.with, secret);
    return slots.test(asked.scope, key, peer);
  },
  renewShare: ({ slots }, { scope }, { peer, secret }) => slots.renewShare(scope, secret, peer),
  addSlot: ({ slots }, asked, { peer, secret }) => {
    const wanted = newSlot(asked);
    return slots.changes.add(asked.scope, wanted, secret, peer);
  },
  setWindow: ({ slots }, asked, { peer }) => {
    const window = windowOf(asked.window);
    return slots.changes.setWindow(asked.scope, asked.slot, window, peer);
  },
  removeSlot: ({ slots }, { scope, slot }, { peer }) => slots.changes.remove(scope, slot, peer),
  rotateSlot: ({ slots }, { scope, slot, ...asked }, { peer, secret }) =>
    slots.changes.rotate(scope, slot, secret, secretRequest(asked), peer),

  audit: ({ audit }, { limit }) => audit.tail(limit ?? AUDIT_ROWS),
};
