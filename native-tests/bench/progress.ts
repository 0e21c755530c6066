/** Progress on standard error: a bar on a terminal, else one line a step. */
export class Progress {
  readonly #total: number;
  readonly #bar = process.stderr.isTTY === true;
  readonly #started = performance.now();
  #done = 0;

  /** `total`: how many steps there will be. */
  constructor(total: number) {
    this.#total = total;
  }

  /** A step begins. */
  begin(text: string): void {
    if (!this.#bar) return;
    const width = 24;
    const filled = Math.round((this.#done / this.#total) * width);
    const bar = '█'.repeat(filled) + '░'.repeat(width - filled);
    const room = (process.stderr.columns ?? 80) - width - 12;
    process.stderr.write(`\r\x1b[K${bar} ${this.#done}/${this.#total} ${text.slice(0, Math.max(8, room))}`);
  }

  /** The step is over; `text` says what came out. */
  end(text: string): void {
    this.#done++;
    if (this.#bar) return;
    const elapsed = Math.round((performance.now() - this.#started) / 1000);
    process.stderr.write(`[bench] ${this.#done}/${this.#total} ${elapsed} s  ${text}\n`);
  }

  /** A line that stays. */
  note(text: string): void {
    process.stderr.write(`${this.#bar ? '\r\x1b[K' : ''}[bench] ${text}\n`);
  }

  close(): void {
    if (this.#bar) process.stderr.write('\r\x1b[K');
  }
}
