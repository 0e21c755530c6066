import type { Verb } from './verb.js';

/** In the order of the help. Each is loaded when it is asked for: all of them are a fifth of a command's start. */
export const verbs = {
  init: async () => (await import('./verbs/init.js')).init,
  mount: async () => (await import('./verbs/mount.js')).mount,
  unmount: async () => (await import('./verbs/unmount.js')).unmount,
  create: async () => (await import('./verbs/create.js')).create,
  unlock: async () => (await import('./verbs/unlock.js')).unlock,
  lock: async () => (await import('./verbs/lock.js')).lock,
  exec: async () => (await import('./verbs/exec.js')).exec,
  lease: async () => (await import('./verbs/lease.js')).lease,
  status: async () => (await import('./verbs/status.js')).status,
  ls: async () => (await import('./verbs/ls.js')).ls,
  rm: async () => (await import('./verbs/rm.js')).rm,
  slot: async () => (await import('./verbs/slot.js')).slot,
  window: async () => (await import('./verbs/window.js')).window,
  audit: async () => (await import('./verbs/audit.js')).audit,
  schema: async () => (await import('./verbs/schema.js')).schema,
  version: async () => (await import('./verbs/version.js')).versionVerb,
} as const satisfies Record<string, () => Promise<Verb>>;

export const verbNames = Object.keys(verbs) as readonly (keyof typeof verbs)[];
