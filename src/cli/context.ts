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
      hint: 'name its source: --with prompt, file:PATH, fd:N, cred:NAME, unix:PATH, age:FILE, cmd:/PROGRAM, parent or -',
    });
  }

  read(source: SecretSource, what: string, confirm = false): Promise<SecretInput> {
    return source.read({ confirm, what, allowPrompt: this.options.input !== false });
  }
  /**
   * Calls `use` for each scope with its secret, which is read once, but where a source has another for each scope; `how`
   * goes with it to the daemon. Wiped afterwards.
   */
  async withSecret<T>(
    client: Client,
    source: SecretSource,
    scopes: readonly string[],
    what: string,
    use: (scope: string, input: SecretInput, how: { with?: 'parent' }) => Promise<T>,
  ): Promise<T[]> {
    const how = source.impliedSlot === 'parent' ? ({ with: 'parent' } as const) : {};
    const done: T[] = [];
    let input: SecretInput | undefined;
    try {
      for (const scope of scopes) {
        if (source.impliedSlot === 'age') {
          input?.wipe();
          const sealed = (await client.slots(scope)).flatMap((slot) => slot.sealed ?? []);
          input = await source.read({ confirm: false, what, allowPrompt: false, sealed });
        }
        input ??= await this.read(source, what);
        done.push(await use(scope, input, how));
      }
      return done;
    } finally {
      input?.wipe();
    }
  }
  /** A new slot's secret. */
  async newSecret(source: SecretSource, what: string): Promise<{ input: SecretInput; sealed?: string }> {
    return source.make?.() ?? { input: await this.read(source, what, true) };
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
