import { parseDuration } from '../base/duration.js';
import { Failure } from '../base/failure.js';
import type { Client, Whence } from '../control/client/client.js';
import { SecretInput } from '../libc/memory.js';
import { type SlotType, slotTypes } from '../store/rows.js';
import { findClient } from './host.js';
import { Output } from './output.js';
import { type SecretSource, secretSource } from './secrets/secret-source.js';
import { ShareSink, withShareFile } from './secrets/share-file.js';

export interface GlobalOptions {
  host?: string;
  json?: boolean;
  quiet?: boolean;
  yes?: boolean;
  input?: boolean;
  timeout?: string;
}

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const CARRIAGE_RETURN = 0x0d;

function unseenIn(input: SecretInput): string | undefined {
  const text = input.view.subarray(0, input.lengthWithoutNewline);
  if (text.subarray(0, 3).equals(BYTE_ORDER_MARK)) return 'begins with a byte order mark (EF BB BF)';
  return text.at(-1) === CARRIAGE_RETURN ? 'ends in a carriage return (CR)' : undefined;
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

  /** How long to wait for the daemon, in milliseconds. */
  get timeout(): number {
    return this.options.timeout === undefined ? 60_000 : parseDuration(this.options.timeout);
  }
  client(): Promise<Client> {
    return findClient(this.options.host, this.timeout);
  }

  /** `--with SRC`, or what an operator at a terminal expects: to be asked. */
  source(text: string | undefined): SecretSource {
    if (text !== undefined) return secretSource(text);
    throw new Failure('input_required', 'a secret is needed', {
      reason: 'source_unnamed',
    });
  }

  async read(source: SecretSource, what: string, confirm = false): Promise<SecretInput> {
    const input = await source.read({ confirm, what, allowPrompt: this.options.input !== false });
    // Editors and other systems put them there, and nobody sees them.
    const unseen = source.impliedSlot === 'passphrase' ? unseenIn(input) : undefined;
    if (unseen !== undefined) this.output.note(`the ${what} ${unseen}, which is a part of it`);
    return input;
  }
  /** A source whose secret was read already, where that can be done before there is a daemon to ask. */
  async readAhead(source: SecretSource, what: string): Promise<SecretSource> {
    if (source.impliedSlot === 'age' || source.share?.startsWith('file:') === true) return source;
    const input = await this.read(source, what);
    return { ...source, read: async () => input };
  }
  /**
   * Calls `use` for each scope with its secret, which is read once, but where a source has another for each scope; `how`
   * goes with it to the daemon. Wiped afterwards. A share that is in a file is renewed there, unless it is only tried.
   */
  async withSecret<T>(
    client: Client,
    source: SecretSource,
    scopes: readonly string[],
    what: string,
    use: (scope: string, input: SecretInput, how: Whence) => Promise<T>,
    { renew = true } = {},
  ): Promise<T[]> {
    const { share } = source;
    const from = source.impliedSlot === 'parent' ? 'parent' : share === undefined ? undefined : 'share';
    const how: Whence = from === undefined ? {} : { with: from };
    const done: T[] = [];
    let input: SecretInput | undefined;
    try {
      for (const scope of scopes) {
        if (renew && share?.startsWith('file:') === true) {
          const renewed = (text: SecretInput): Promise<T> => use(scope, text, how);
          done.push(await withShareFile(client, scope, share.slice(5), renewed));
          continue;
        }
        if (source.impliedSlot === 'age') {
          input?.wipe();
          const sealed = (await client.call('slots', { scope })).flatMap((slot) => slot.sealed ?? []);
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
  /**
   * Calls `use` with a new slot's secret; or where scopefs makes it, puts the shares of it where the source says:
   * `count` of them.
   */
  async withNewSecret<T>(
    source: SecretSource,
    what: string,
    count: number,
    use: (input: SecretInput, sealed: string | undefined, shares: SecretInput) => Promise<T>,
  ): Promise<T> {
    const shares = new SecretInput();
    const sink = source.share === undefined ? undefined : new ShareSink(source.share, count);
    let made: { input: SecretInput; sealed?: string } | undefined;
    try {
      const toOutput = source.share === '-' || source.share === 'fd:1';
      if (toOutput && this.output.json) {
        throw new Failure('usage', 'the shares and the JSON would both go to standard output', {
          reason: 'shares_and_json',
        });
      }
      made =
        sink === undefined
          ? ((await source.make?.()) ?? { input: await this.read(source, what, true) })
          : { input: new SecretInput() };
      const done = await use(made.input, made.sealed, shares);
      this.output.outputTaken = toOutput;
      for (const path of written(sink, shares)) this.output.note(`wrote ${path}`);
      return done;
    } finally {
      sink?.abandon();
      made?.input.wipe();
      shares.wipe();
    }
  }

  /** The slot type of a new secret. */
  slotType(source: SecretSource, named: string | undefined): SlotType {
    if (named === undefined) return source.impliedSlot;
    const type = slotTypes.find((candidate) => candidate === named);
    if (type !== undefined) return type;
    throw new Failure('usage', `there is no slot type ${named}`, {
      reason: { name: 'slot_kind_unknown', kinds: slotTypes },
    });
  }
}

/** The slot is made already: its operator must know that its shares are lost. */
function written(sink: ShareSink | undefined, shares: SecretInput): string[] {
  try {
    return sink?.write(shares) ?? [];
  } catch (error) {
    throw new Failure(
      'io',
      `the shares could not be written (${(error as Error).message}): nobody has them now`,
      {
        reason: 'shares_lost',
      },
    );
  }
}
