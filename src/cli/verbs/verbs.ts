import type { Command } from 'commander';
import type { CommandContext } from '../context.js';
import { audit } from './audit.js';
import { create } from './create.js';
import { exec } from './exec.js';
import { init } from './init.js';
import { lease } from './lease.js';
import { lock } from './lock.js';
import { ls } from './ls.js';
import { mount } from './mount.js';
import { rm } from './rm.js';
import { schema } from './schema.js';
import { slot } from './slot.js';
import { status } from './status.js';
import { unlock } from './unlock.js';
import { unmount } from './unmount.js';
import { versionVerb } from './version.js';
import { window } from './window.js';

/** Adds a verb to the program; `run` wraps its action with output, failures and exit status. */
export type Verb = (
  program: Command,
  run: <A extends unknown[]>(
    action: (context: CommandContext, ...args: A) => Promise<void>,
  ) => (...args: unknown[]) => Promise<void>,
) => void;

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
