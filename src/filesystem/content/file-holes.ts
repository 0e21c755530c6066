import { copyMap, emptyMap, type HoleMap, MAP_RANGES } from '../../format/file/hole-map.js';

/**
 * The holes of an open file among its chunks ever written. What is here rules; the map on disk follows with the
 * header. Whoever changes it has the whole file.
 */
export class FileHoles {
  #map: HoleMap = emptyMap();
  /** The map on disk is behind the one here. */
  dirty = false;
  /** The map was written since the last fsync: a metadata change, so fdatasync would not do. */
  unsynced = false;
  /** The map lies in a file of its own. */
  filed = false;
  /** Counts changes: an fsync says nothing of what changed meanwhile. */
  changes = 0;

  get map(): HoleMap {
    return this.#map;
  }
  get none(): boolean {
    return this.#map.holes.empty;
  }
  /** Neither holes nor chunks that may be one after a power cut: no map is needed. */
  get clean(): boolean {
    return this.none && this.#map.filled.empty;
  }
  /** No map has room for one more range: what would make one is refused (ENOSPC). */
  get full(): boolean {
    return this.#map.holes.ranges.length + this.#map.filled.ranges.length >= MAP_RANGES - 2;
  }
  has(chunk: number): boolean {
    return this.#map.holes.has(chunk);
  }
  overlaps(from: number, to: number): boolean {
    return this.#map.holes.overlaps(from, to);
  }

  #changed(): void {
    this.dirty = true;
    this.changes++;
  }
  /** As read from disk. */
  adopt(map: HoleMap): void {
    this.#map = map;
    this.dirty = false;
  }
  reset(): void {
    if (!this.clean) this.#changed();
    this.#map = emptyMap();
    this.dirty = false;
  }
  snapshot(): HoleMap {
    return copyMap(this.#map);
  }
  restore(map: HoleMap): void {
    this.#map = map;
    this.#changed();
  }

  /** Chunks become holes. */
  dig(from: number, to: number): void {
    if (from >= to) return;
    this.#map.holes.add(from, to);
    this.#map.filled.remove(from, to);
    this.#changed();
  }
  /** Chunks have data now. `synced`: chunks below it were durable with their holes, so a power cut may undo this. */
  fill(from: number, to: number, synced: number): void {
    if (!this.overlaps(from, to)) return;
    for (let range = this.#map.holes.next(from); range !== undefined && range.from < to; ) {
      const { to: end } = range;
      this.#map.filled.add(Math.max(from, range.from), Math.min(to, end, synced));
      range = this.#map.holes.next(end);
    }
    this.#map.holes.remove(from, to);
    this.#changed();
  }
  /** The file has only so many chunks now. */
  cut(chunks: number): void {
    const { holes, filled } = this.#map;
    if (
      !holes.overlaps(chunks, Number.POSITIVE_INFINITY) &&
      !filled.overlaps(chunks, Number.POSITIVE_INFINITY)
    )
      return;
    holes.remove(chunks, Number.POSITIVE_INFINITY);
    filled.remove(chunks, Number.POSITIVE_INFINITY);
    this.#changed();
  }
  /** What was filled is durable. */
  settle(): void {
    if (this.#map.filled.empty) return;
    this.#map.filled.remove(0, Number.POSITIVE_INFINITY);
    this.dirty = true;
  }
}
