/** What the command line must know of the daemon without loading it: each verb is a process of its own. */

/** Our own FUSE, or the npm binding fuse-native: less, and slower (fuse/README.md). */
export const transports = ['kernel', 'fuse-native'] as const;
export type TransportName = (typeof transports)[number];

/** Sockets and logs of daemons, by volume. */
export const RUN_DIRECTORY = '/run/scopefs';
const SOCKET = '.sock';
/** Where a volume's daemon listens, unless `--host` says otherwise; a copy of its vault, mounted beside it, has the next name. */
export const socketName = (volume: string, copy = 1): string =>
  `${volume}${copy === 1 ? '' : `-${copy}`}${SOCKET}`;
export const isSocketName = (name: string): boolean => name.endsWith(SOCKET);
