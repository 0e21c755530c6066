import type { LeaseView, ScopeView, VersionView } from './schemas.js';

/** What daemons of tests say of themselves. */
export const version: VersionView = {
  version: '0',
  volume: '22'.repeat(16),
  vault: '/v',
  mount: '/m',
  device: '0:50',
  detached: false,
  read_only: false,
  pid: 1,
  fuse_minor: 45,
  secret_memory: 'memfd_secret',
  inodes: 1,
  requests: 1,
  longest_request: { operation: 'READ', milliseconds: 0.1 },
};

export const scope: ScopeView = {
  id: '00'.repeat(16),
  path: '/users/alice',
  parent: null,
  state: 'unlocked',
  generation: 1,
  leases: 1,
  expires: null,
  expires_seconds: null,
  visible_to: 'any',
  read_only: false,
  open_handles: 0,
  slots: 1,
  created: new Date(0).toISOString(),
};
export const lease: LeaseView = {
  id: '11'.repeat(16),
  scope: scope.id,
  path: scope.path,
  purpose: 'test',
  holder: { uid: 0, pid: 1, command: null, unit: null },
  bound_to: [],
  visible_to: 'any',
  read_only: false,
  idle_seconds: null,
  budget: null,
  created: scope.created,
  expires: null,
  expires_seconds: null,
};
