/** Sorted, disjoint, non-adjacent ranges of whole numbers; `to` is exclusive. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

/** A set of numbers kept as ranges. Changing it costs the number of ranges, asking its logarithm. */
export class ExtentSet {
  #ranges: Extent[];
  constructor(ranges: readonly Extent[] = []) {
    this.#ranges = [...ranges];
  }

  get ranges(): readonly Extent[] {
    return this.#ranges;
  }
  get empty(): boolean {
    return this.#ranges.length === 0;
  }
  copy(): ExtentSet {
    return new ExtentSet(this.#ranges);
  }

  /** Index of the first range that ends after `at`. */
  #after(at: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as Extent).to > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }
  /** The first range that ends after `at`; it may begin later. */
  next(at: number): Extent | undefined {
    return this.#ranges[this.#after(at)];
  }
  has(at: number): boolean {
    const range = this.next(at);
    return range !== undefined && range.from <= at;
  }
  overlaps(from: number, to: number): boolean {
    const range = this.next(from);
    return range !== undefined && range.from < to;
  }

  add(from: number, to: number): void {
    if (from >= to) return;
    // Ranges that touch this one melt into it.
    const first = this.#after(from - 1);
    let last = first;
    let [start, end] = [from, to];
    for (
      let range = this.#ranges[last];
      range !== undefined && range.from <= to;
      range = this.#ranges[last]
    ) {
      start = Math.min(start, range.from);
      end = Math.max(end, range.to);
      last++;
    }
    this.#ranges.splice(first, last - first, { from: start, to: end });
  }

  remove(from: number, to: number): void {
    if (from >= to) return;
    const first = this.#after(from);
    const left: Extent[] = [];
    let last = first;
    for (let range = this.#ranges[last]; range !== undefined && range.from < to; range = this.#ranges[last]) {
      if (range.from < from) left.push({ from: range.from, to: from });
      if (range.to > to) left.push({ from: to, to: range.to });
      last++;
    }
    if (last > first) this.#ranges.splice(first, last - first, ...left);
  }

  /** The shortest range. */
  get smallest(): Extent | undefined {
    let best: Extent | undefined;
    for (const range of this.#ranges) {
      if (best === undefined || range.to - range.from < best.to - best.from) best = range;
    }
    return best;
  }
}
