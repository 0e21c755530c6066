import type { VersionView } from './schemas.js';

/** What daemons of tests say of themselves. */
export const version: VersionView = {
  version: '0',
  volume: '22'.repeat(16),
  vault: '/v',
  mount: '/m',
  pid: 1,
  fuse_minor: 45,
  secret_memory: 'memfd_secret',
  inodes: 1,
  requests: 1,
  longest_request: { operation: 'READ', milliseconds: 0.1 },
};
