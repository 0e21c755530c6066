import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { Errno } from '../base/errno.js';
import { Failure } from '../base/failure.js';
import { version } from '../base/version.js';
import { endProcess } from '../libc/process-end.js';
import { CommandContext, type GlobalOptions } from './context.js';
import { Output } from './output.js';
import { verbNames, verbs } from './verbs.js';

const USAGE = 2;

/** Writes what is left in the streams, then ends the process. */
function end(status: number): void {
  process.exitCode = status;
  process.stdout.write('', () => process.stderr.write('', () => endProcess(status)));
}

function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof Errno) {
    return new Failure(error.code === 'ENOSPC' ? 'no_space' : 'io', error.message, { cause: error });
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (typeof code === 'string' && code.startsWith('E')) return new Failure('io', message);
  return new Failure('internal', error instanceof Error ? (error.stack ?? message) : String(error));
}

/** The verb that is asked for; undefined: help, or what only commander can say something about. */
function namedVerb(program: Command, args: readonly string[]): (typeof verbNames)[number] | undefined {
  for (let i = 0; i < args.length; i++) {
    const [flag, inline] = (args[i] as string).split('=', 2) as [string, string?];
    if (!flag.startsWith('-')) return verbNames.find((name) => name === args[i]);
    const option = program.options.find(({ long, short }) => long === flag || short === flag);
    if (option === undefined) return undefined;
    if (option.required && inline === undefined) i++;
  }
  return undefined;
}

/** Node reads arguments as UTF-8, and has U+FFFD for what is none: another name than was given (proc(5), cmdline). */
function refuseOtherText(args: readonly string[]): void {
  if (!args.some((argument) => argument.includes('\ufffd'))) return;
  const line = readFileSync('/proc/self/cmdline', 'latin1').split('\0').slice(0, -1);
  const isText = (bytes: Buffer): boolean => Buffer.from(bytes.toString('utf8')).equals(bytes);
  const other = line.map((argument) => Buffer.from(argument, 'latin1')).find((bytes) => !isText(bytes));
  if (other === undefined) return;
  const shown = [...other].map((byte) =>
    byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
  );
  throw new Failure('usage', `an argument is not UTF-8: ${shown.join('')}`, { reason: 'argument_not_utf8' });
}

/** The admin command line. `args` without interpreter and script. */
export async function main(args: readonly string[]): Promise<void> {
  const program = new Command('scopefs')
    .description('an encrypted overlay filesystem: a key for every directory scope')
    .version(version, '-V, --version')
    .option(
      '-H, --host <where>',
      "unix:///PATH of the daemon's socket, a mount point or a vault (also SCOPEFS_HOST)",
    )
    .option('--json', 'output for scripts')
    .option('-q, --quiet', 'no output but errors')
    .option('-y, --yes', 'answer yes')
    .option('--no-input', 'never ask (implied off a terminal)')
    .option('--timeout <duration>', 'how long to wait for the daemon')
    .showHelpAfterError('(see --help)')
    .configureHelp({ sortSubcommands: false })
    .exitOverride();

  const run =
    <A extends unknown[]>(action: (context: CommandContext, ...args: A) => Promise<void>) =>
    async (...given: unknown[]): Promise<void> => {
      // commander passes arguments, then the verb's options, then the command.
      const command = given.at(-1) as Command;
      const options = command.optsWithGlobals() as GlobalOptions;
      const context = new CommandContext(options);
      try {
        await action(context, ...(given.slice(0, -1) as A));
        end(context.exitStatus);
      } catch (error) {
        const failure = asFailure(error);
        context.output.failure(failure);
        end(context.failureStatus ?? failure.exitStatus);
      }
    };
  const named = namedVerb(program, args);
  for (const name of named === undefined ? verbNames : [named]) (await verbs[name]())(program, run);
  // Global options are accepted behind the verb too, as people write them.
  for (const command of program.commands.flatMap((verb) => [verb, ...verb.commands])) {
    command.exitOverride();
    for (const option of program.options) {
      const taken = command.options.some((own) => own.long === option.long);
      if (!taken && option.long !== '--version') command.addOption(option);
    }
  }

  try {
    refuseOtherText(args);
    await program.parseAsync([...args], { from: 'user' });
    if (args.length === 0) program.help();
  } catch (error) {
    if (error instanceof CommanderError) {
      const fine = error.exitCode === 0;
      end(fine ? 0 : USAGE);
      return;
    }
    const failure = asFailure(error);
    new Output({ json: args.includes('--json'), quiet: false }).failure(failure);
    end(failure.exitStatus);
  }
}
