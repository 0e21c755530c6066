import type { Verb } from './verb.js';
import { audit } from './verbs/audit.js';
import { create } from './verbs/create.js';
import { exec } from './verbs/exec.js';
import { init } from './verbs/init.js';
import { lease } from './verbs/lease.js';
import { lock } from './verbs/lock.js';
import { ls } from './verbs/ls.js';
import { mount } from './verbs/mount.js';
import { rm } from './verbs/rm.js';
import { schema } from './verbs/schema.js';
import { slot } from './verbs/slot.js';
import { status } from './verbs/status.js';
import { unlock } from './verbs/unlock.js';
import { unmount } from './verbs/unmount.js';
import { versionVerb } from './verbs/version.js';
import { window } from './verbs/window.js';

/** In the order of the help. */
export const verbs: readonly Verb[] = [
  init,
  mount,
  unmount,
  create,
  unlock,
  lock,
  exec,
  lease,
  status,
  ls,
  rm,
  slot,
  window,
  audit,
  schema,
  versionVerb,
];
