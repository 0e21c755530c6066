import type { Asked, Reply } from '../../src/control/calls.js';
import { Client as Caller, type LeaseOptions, type SecretOptions } from '../../src/control/client/client.js';
import type { SecretInput } from '../../src/libc/memory.js';
import type { SlotType } from '../../src/store/rows.js';

/** A daemon's client with the calls that tests make all the time, in short. */
export class Client extends Caller {
  version(): Promise<Reply<'version'>> {
    return this.call('version');
  }
  scopes(): Promise<Reply<'scopes'>> {
    return this.call('scopes');
  }
  scope(scope: string): Promise<Reply<'scope'>> {
    return this.call('scope', { scope });
  }
  createScope(path: string, how: Omit<Asked<'createScope'>, 'path'>, secret: SecretInput) {
    return this.call('createScope', { path, ...how }, secret);
  }
  holders(scope: string): Promise<Reply<'holders'>> {
    return this.call('holders', { scope });
  }
  lock(scope: string, how: Asked<'lockAll'>): Promise<Reply<'lock'>> {
    return this.call('lock', { scope, ...how });
  }
  lockAll(how: Asked<'lockAll'>): Promise<Reply<'lockAll'>> {
    return this.call('lockAll', how);
  }
  leases(): Promise<Reply<'leases'>> {
    return this.call('leases');
  }
  createLease(scope: string, how: LeaseOptions, secret: SecretInput): Promise<Reply<'createLease'>> {
    return this.call('createLease', { scope, ...how }, secret);
  }
  changeLease(lease: string, how: { ttl: string }): Promise<Reply<'changeLease'>> {
    return this.call('changeLease', { lease, ...how });
  }
  endLease(lease: string, withdrawn = false): Promise<Reply<'endLease'>> {
    return this.call('endLease', { lease, ...(withdrawn ? { withdrawn: '1' } : {}) });
  }
  slots(scope: string): Promise<Reply<'slots'>> {
    return this.call('slots', { scope });
  }
  addSlot(
    scope: string,
    how: Omit<Asked<'addSlot'>, 'scope' | 'slot'> & { slot: string },
    secret: SecretInput,
    shares?: SecretInput,
  ): Promise<Reply<'addSlot'>> {
    return this.call('addSlot', { scope, ...how, slot: how.slot as SlotType }, secret, shares);
  }
  testSlot(
    scope: string,
    secret: SecretInput,
    how: Pick<LeaseOptions, 'with'> = {},
  ): Promise<Reply<'testSlot'>> {
    return this.call('testSlot', { scope, ...how }, secret);
  }
  setWindow(scope: string, slot: string, how: { window?: string }): Promise<Reply<'setWindow'>> {
    return this.call('setWindow', { scope, slot, ...how });
  }
  removeSlot(scope: string, slot: string): Promise<Reply<'removeSlot'>> {
    return this.call('removeSlot', { scope, slot });
  }
  rotateSlot(
    scope: string,
    slot: string,
    secret: SecretInput,
    how: SecretOptions = {},
    shares?: SecretInput,
  ): Promise<Reply<'rotateSlot'>> {
    return this.call('rotateSlot', { scope, slot, ...how }, secret, shares);
  }
  renewShare(scope: string, share: SecretInput, shares: SecretInput): Promise<Reply<'renewShare'>> {
    return this.call('renewShare', { scope }, share, shares);
  }
  audit(limit: number): Promise<Reply<'audit'>> {
    return this.call('audit', { limit });
  }
}
