import { parseDuration } from '../base/duration.js';
import { Failure } from '../base/failure.js';
import type { Client } from '../control/client.js';
import type { SecretInput } from '../libc/memory.js';
import { type SlotType, slotTypes } from '../store/rows.js';
import { findClient } from './host.js';
import { Output } from './output.js';
import { type SecretSource, secretSource } from './secret-source.js';

export interface GlobalOptions {
  host?: string;
  json?: boolean;
  quiet?: boolean;
  yes?: boolean;
  input?: boolean;
  timeout?: string;
}

/** What every verb gets: its output, the daemon, and a way to ask for a secret. */
export class CommandContext {
  readonly options: GlobalOptions;
  readonly output: Output;
  /** What the command ends with when nothing failed. */
  exitStatus = 0;
  /** What it ends with when something failed, where that is not the failure's own: `exec` keeps those for its command. */
  failureStatus: number | undefined;

  constructor(options: GlobalOptions) {
    this.options = options;
    this.output = new Output({ json: options.json === true, quiet: options.quiet === true });
  }

  client(): Promise<Client> {
    const timeout = this.options.timeout === undefined ? 60_000 : parseDuration(this.options.timeout);
    return findClient(this.options.host, timeout);
  }

  /** `--with SRC`, or what an operator at a terminal expects: to be asked. */
  source(text: string | undefined): SecretSource {
    if (text !== undefined) return secretSource(text);
    throw new Failure('input_required', 'a secret is needed', {
      hint: 'name its source: --with prompt, file:PATH, fd:N, cred:NAME, unix:PATH or -',
    });
  }

  read(source: SecretSource, what: string, confirm = false): Promise<SecretInput> {
    return source.read({ confirm, what, allowPrompt: this.options.input !== false });
  }

  /** The slot type of a new secret. */
  slotType(source: SecretSource, named: string | undefined): SlotType {
    if (named === undefined) return source.impliedSlot;
    const type = slotTypes.find((candidate) => candidate === named);
    if (type !== undefined) return type;
    throw new Failure('usage', `the slot type ${named} is not built yet`, {
      hint: `use ${slotTypes.join(', ')}`,
    });
  }
}
