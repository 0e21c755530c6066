import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Failure } from '../../base/failure.js';
import { printable } from '../../base/printable.js';
import type { Held } from '../../control/client/client.js';
import { adoptOrphans } from '../../libc/system.js';
import { type With, withOption } from '../arguments.js';
import { type LeaseFlags, leaseFlags, leaseOptions } from '../lease-options.js';
import { openAll, skipBusyOption } from '../several-leases.js';
import type { Verb } from '../verb.js';

interface Options extends LeaseFlags, With {
  skipBusy?: boolean;
}

/** As of env(1), nohup(1) and sh: scopefs failed, the command can't be executed, is not there, died of a signal. */
const FAILED = 125;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const SIGNALLED = 128;

/** What a terminal or a manager sends to a program. SIGKILL can't be passed on: then the daemon ends the lease. */
const FORWARDED = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
] as const;

/** The terminal sends these to everybody in the foreground itself. */
const FROM_TERMINAL: ReadonlySet<string> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH', 'SIGCONT']);

export const exec: Verb = (program, run) => {
  const exec = program
    .command('exec')
    .argument('<scope...>', 'paths inside the mount, or ids; then -- and the command')
    .usage('<scope...> --with <src> -- <command> [argument...]')
    .description('run a command with scopes unlocked as long as it runs')
    .option(...withOption);
  leaseFlags(exec)
    .option('--visible-to <callers>', 'others than the command and what it starts: as unlock has it')
    .option(...skipBusyOption)
    .addHelpText(
      'after',
      `
The scopes are visible to the command and what it starts alone, its orphans included. The leases end with the command, with scopefs, and by themselves where either is killed.
Exit status: the command's; 125 scopefs failed, 126 not executable, 127 not found, 128+N died of signal N.

Example:
  scopefs exec users/alice --with file:key -- tar -cf /backup/alice.tar -C /mnt/data/users alice`,
    )
    .action(
      run(async (context, words: string[], options: Options) => {
        context.failureStatus = FAILED;
        const { scopes, command } = split(words, process.argv);
        // What the command leaves behind stays below us, where it is still of the tree.
        adoptOrphans();
        const client = await context.client();
        const source = context.source(options.with);
        let held: Held[] = [];
        let running = true;
        try {
          const asked = {
            ...leaseOptions(options),
            purpose: options.purpose ?? `exec ${command[0]}`.slice(0, 200),
            visible_to: options.visibleTo ?? 'tree:self',
          };
          const { opened } = await openAll(
            context,
            { client, source, scopes, skipBusy: options.skipBusy === true },
            (scope, input, how) => client.holdLease(scope, { ...asked, ...how }, input),
            ({ lease }) => lease.id,
          );
          held = opened;
          for (const { lease, ended } of held) {
            void ended.then((end) => {
              const why = end === undefined ? '' : ` (${end.reason})`;
              if (running)
                context.output.note(`${lease.path} was locked${why}: the command goes on without it`);
            });
          }
          context.exitStatus = await runCommand(command);
        } finally {
          running = false;
          for (const { release } of held) release();
        }
      }),
    );
};

/** commander drops the `--`: what stood behind the first one is the command. */
function split(words: readonly string[], argv: readonly string[]): { scopes: string[]; command: string[] } {
  const at = argv.indexOf('--');
  const command = at < 0 ? [] : argv.slice(at + 1);
  const scopes = words.slice(0, words.length - command.length);
  // An option whose value is `--` would be taken for the end of ours: then the tail is not what commander saw there.
  const same = command.every((word, i) => words[scopes.length + i] === word);
  if (command.length > 0 && scopes.length > 0 && same) return { scopes, command };
  throw new Failure('usage', 'name the scopes, then -- and the command', {
    reason: 'exec_form',
  });
}

/**
 * Runs a command; signals that come to us go to it. Off a terminal in a session of its own, so that they reach all that it
 * starts; on one it stays in ours, to keep the terminal. Its exit status, as a shell says it.
 */
function runCommand([file = '', ...args]: readonly string[]): Promise<number> {
  const terminal = process.stdin.isTTY === true;
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const missing = file === '' || error.code === 'ENOENT';
      process.stderr.write(
        `scopefs: ${printable(`${file}: ${missing ? 'command not found' : error.message}`)}\n`,
      );
      resolve(missing ? NOT_FOUND : NOT_EXECUTABLE);
    };
    let child: ChildProcess | undefined;
    const forward = (signal: NodeJS.Signals): void => {
      if (child?.pid === undefined || (terminal && FROM_TERMINAL.has(signal))) return;
      try {
        process.kill(terminal ? child.pid : -child.pid, signal);
      } catch {
        // The command has just ended.
      }
    };
    // Before the command begins: it may run for a while before we do again, and a signal would end us alone. What comes
    // meanwhile is heard when there is a child: handlers run in a later turn.
    for (const signal of FORWARDED) process.on(signal, forward);
    const unhook = (): void => {
      for (const signal of FORWARDED) process.removeListener(signal, forward);
    };
    try {
      child = spawn(file, args, { stdio: 'inherit', detached: !terminal });
    } catch (error) {
      unhook();
      failed(error as NodeJS.ErrnoException);
      return;
    }
    child.once('error', (error: NodeJS.ErrnoException) => {
      unhook();
      failed(error);
    });
    child.once('exit', (code, signal) => {
      unhook();
      resolve(signal === null ? (code ?? FAILED) : SIGNALLED + constants.signals[signal]);
    });
  });
}
