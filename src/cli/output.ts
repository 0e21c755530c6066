import { styleText } from 'node:util';
import type { Failure } from '../base/failure.js';
import { printable, printableJson, printableLines } from '../base/printable.js';
import { adviceOf } from '../control/advice.js';
import { countTexts } from '../control/receipt-counts.js';
import type { HolderView, MountUserView, ReceiptView } from '../control/schemas.js';

type Style = 'bold' | 'green' | 'red';
/** What {@link Output.paint} makes of them: on, and off again. */
const SEQUENCES = ['bold', 'green', 'red'].flatMap((style) =>
  styleText(style as Style, ' ', { validateStream: false }).split(' '),
);

/** What a command says: people on a terminal get tables and colours, scripts get JSON with `--json`. */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #colour: boolean;
  /** Standard output has something else: shares. */
  outputTaken = false;

  constructor(options: { json: boolean; quiet: boolean }) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  }

  paint(style: Style, text: string): string {
    return this.#colour ? styleText(style, text) : text;
  }
  /** The result of a command: `text` for people, `value` for scripts. */
  result(value: unknown, text: () => string): void {
    if (this.json) process.stdout.write(printableJson(`${JSON.stringify(value, null, 2)}\n`));
    else if (this.outputTaken) this.note(text());
    else if (!this.quiet) process.stdout.write(`${this.#lines(text())}\n`);
  }
  /** Without control characters but those of our colours. */
  #lines(text: string): string {
    return printableLines(text, this.#colour ? SEQUENCES : []);
  }
  /** What went wrong beside the result: also with -q. */
  #complaint(text: string): void {
    process.stderr.write(`scopefs: ${printable(text)}\n`);
  }
  /** Something a person should know, beside the result. */
  note(text: string): void {
    if (!this.quiet) process.stderr.write(`${printableLines(text)}\n`);
  }
  failure(failure: Failure): void {
    if (this.json) {
      const { code, message, details, exitStatus } = failure;
      const value = {
        error: { code, message, hint: adviceOf(failure), exit_status: exitStatus, ...details },
      };
      process.stderr.write(printableJson(`${JSON.stringify(value)}\n`));
      return;
    }
    const colour = process.stderr.isTTY === true && process.env.NO_COLOR === undefined;
    const label = colour ? styleText('red', 'scopefs:') : 'scopefs:';
    process.stderr.write(`${label} ${printable(failure.message)}\n`);
    this.holders((failure.details?.holders ?? []) as HolderView[]);
    for (const { what, end } of (failure.details?.held_by ?? []) as MountUserView[]) {
      this.note(printable(`  ${what}: ${end}`));
    }
    process.stderr.write(`  hint: ${printable(adviceOf(failure))}\n`);
  }

  /** Processes that use a scope, for people. */
  holders(holders: readonly HolderView[]): void {
    for (const { pid, uid, command, unit, files } of holders) {
      const from = unit === null || unit === undefined ? '' : `, ${unit}`;
      this.note(printable(`  ${command} (pid ${pid}, uid ${uid}${from}): ${files.join(', ')}`));
    }
  }

  /** Columns as wide as their widest cell. */
  table(header: readonly string[], cells: readonly (readonly string[])[]): string {
    const rows = cells.map((row) => row.map(printable));
    const widths = header.map((title, i) =>
      Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)),
    );
    const line = (cells: readonly string[]): string =>
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd();
    return [this.paint('bold', line(header)), ...rows.map(line)].join('\n');
  }

  receipts(receipts: readonly ReceiptView[]): void {
    this.result({ receipts }, () =>
      receipts.length === 0
        ? 'nothing was unlocked'
        : receipts.map((receipt) => this.#receipt(receipt)).join('\n'),
    );
    for (const receipt of receipts) {
      if (!this.json && receipt.holders.length > 0) {
        this.note(`scopefs: ${printable(receipt.path)} was still used by:`);
        this.holders(receipt.holders);
      }
      for (const { file, error } of receipt.errors) {
        this.#complaint(`${receipt.path}: ${file} could not be written (${error})`);
      }
    }
  }
  #receipt(receipt: ReceiptView): string {
    const facts = [
      ...countTexts(receipt),
      `flushed ${bytes(receipt.bytes_flushed)}`,
      `errors ${receipt.errors.length}`,
    ];
    const head = `${this.paint('green', 'locked')} ${printable(receipt.path)}`;
    return `${head}  (generation ${receipt.generation}, ${receipt.seconds.toFixed(3)} s)\n  ${facts.join(', ')}`;
  }
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
