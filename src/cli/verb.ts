import type { Command } from 'commander';
import type { CommandContext } from './context.js';

/** Adds a verb to the program; `run` wraps its action with output, failures and exit status. */
export type Verb = (
  program: Command,
  run: <A extends unknown[]>(
    action: (context: CommandContext, ...args: A) => Promise<void>,
  ) => (...args: unknown[]) => Promise<void>,
) => void;
